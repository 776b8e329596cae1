"""The callbacks with which long-running functions report how far they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Called with (done, total) as the work proceeds, the first time with 0 done."""

Stages = Callable[[str], Progress]
"""Takes the name of a stage and returns the callback for its progress."""


def in_one_piece(progress: Progress, work: Callable[[], T]) -> T:
    """Do what has no progress of its own, as a stage of one piece."""
    progress(0, 1)
    outcome = work()
    progress(1, 1)
    return outcome


def silent(_stage: str) -> Progress:
    """Stages whose progress is shown nowhere."""
    return lambda _done, _total: None
