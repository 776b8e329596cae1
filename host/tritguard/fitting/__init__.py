"""Proposes networks whose widths and depth fit a budget of flash, RAM and time, before anything is trained."""

from tritguard.fitting.budget import FitBudget, parse_budget
from tritguard.fitting.families import FAMILIES
from tritguard.fitting.proposal import Proposal, Proposals, as_toml
from tritguard.fitting.search import ROWS, propose

__all__ = ["FAMILIES", "ROWS", "FitBudget", "Proposal", "Proposals", "as_toml", "parse_budget", "propose"]
