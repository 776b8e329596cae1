"""How the rooms that work tell how far they are."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with (done, total) as work goes on, for the first time with 0 done."""

Stages = Callable[[str], Progress]
"""Gives the callback that shows the progress of the stage with this name."""


def silent(_stage: str) -> Progress:
    """Stages that nobody watches."""
    return lambda _done, _total: None
