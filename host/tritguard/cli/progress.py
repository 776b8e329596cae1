"""Progress bars for everything that takes longer than two seconds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from tritguard.cli.terminal import console


class Stage:
    """One bar, called as the `Progress` of the code that works; it appears with the first call."""

    def __init__(self, bars: Bars, what: str) -> None:
        self._bars = bars
        self._what = what
        self._task: TaskID | None = None

    def __call__(self, done: int, total: int) -> None:
        """Move the bar."""
        if self._task is None:
            self._bars.start()
            self._task = self._bars.add_task(self._what)
        self._bars.update(self._task, completed=done, total=total)

    def note(self, text: str) -> None:
        """Show a few words behind the stage's name, once there is a bar."""
        if self._task is not None:
            self._bars.update(self._task, description=f"{self._what}, {text}")


def start_tensorflow() -> None:
    """Import TensorFlow, which takes seconds, and say so."""
    with console.status("Starting TensorFlow"):
        import tritguard.train.backend  # noqa: F401, PLC0415


@contextmanager
def stages() -> Iterator[Callable[[str], Stage]]:
    """Show one bar for each stage: `named("what")` names a stage and gives the `Progress` to call.

    A bar appears with the first call, so a stage with nothing to do, such as a finished download, shows none.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    bars = Bars(*columns, console=console)
    try:
        yield functools.partial(Stage, bars)
    finally:
        if bars.tasks:
            bars.stop()


@contextmanager
def bar(what: str) -> Iterator[Stage]:
    """Show the bar of a single stage."""
    with stages() as named:
        yield named(what)
