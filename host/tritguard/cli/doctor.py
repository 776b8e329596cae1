"""tritguard doctor: says what is missing on this machine, and how to mend it."""

from __future__ import annotations

import sys
from dataclasses import asdict

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from tritguard.api.machine import TRIED, Finding, examine
from tritguard.cli.terminal import console, tell
from tritguard.resources import docs_dir, examples_dir


def command() -> None:
    """Look for everything tritguard needs; exit code 3 where something of the emulated road is missing."""
    with console.status("Looking"):
        findings = list(examine())
    tell({"findings": [asdict(finding) | {"good": finding.good} for finding in findings]})
    table = Table("", "what", "found", "for", box=box.SIMPLE)
    for finding in findings:
        table.add_row(_mark(finding), finding.name, finding.found or "nothing", finding.why)
    console.print(table)
    console.print(f"the documentation is in {docs_dir()}, trained models in {examples_dir()}", soft_wrap=True)
    if sys.platform not in TRIED:
        console.print(
            "tritguard has not been run on this system: paths, ports and programs are looked for as they are usual here"
        )
    bad = [finding for finding in findings if not finding.good]
    for finding in bad:
        console.print(_mark(finding), f"{finding.name}: {finding.mend}", soft_wrap=True)
    if any(finding.needed for finding in bad):
        raise typer.Exit(3)
    console.print("All that is needed to attack a model on an emulated board is here.")


def _mark(finding: Finding) -> Text:
    if finding.good:
        return Text("ok", style="green")
    return Text("missing", style="red") if finding.needed else Text("optional", style="yellow")
