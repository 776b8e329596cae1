"""The callbacks with which long-running functions report how far they are."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with (done, total) as the work proceeds, the first time with 0 done."""

Stages = Callable[[str], Progress]
"""Takes the name of a stage and returns the callback for its progress."""


def silent(_stage: str) -> Progress:
    """Stages whose progress is shown nowhere."""
    return lambda _done, _total: None
