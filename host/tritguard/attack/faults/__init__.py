"""Faults in flash: bits of the deployed weights turned over, at random or where it hurts most."""

from tritguard.attack.faults.flips import Flip, draw_flips, every_bit, flip, flipped_image
from tritguard.attack.faults.greedy import ProgressiveSearch

__all__ = ["Flip", "ProgressiveSearch", "draw_flips", "every_bit", "flip", "flipped_image"]
