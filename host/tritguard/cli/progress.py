"""Tells how far everything is that takes longer than two seconds: by bars on a terminal, by lines in a log."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from typing_extensions import override

from tritguard.cli.terminal import console, say

_LINE_SECONDS = 60.0  # a log gets a line after this time
_TENTH_SECONDS = 5.0  # or with each tenth of the work, if the last line is this old


class Stage(Protocol):
    """Shows one stage; called as the `Progress` of the code that works. Nothing is shown before the first call."""

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` are done."""

    def note(self, text: str) -> None:
        """Show a few words behind the stage's name, once it is shown."""


class _Bar(Stage):
    def __init__(self, bars: Bars, what: str) -> None:
        self._bars = bars
        self._what = what
        self._task: TaskID | None = None

    @override
    def __call__(self, done: int, total: int) -> None:
        if self._task is None:
            self._bars.start()
            self._task = self._bars.add_task(self._what)
        self._bars.update(self._task, completed=done, total=total)

    @override
    def note(self, text: str) -> None:
        if self._task is not None:
            self._bars.update(self._task, description=f"{self._what}, {text}")


class _Lines(Stage):
    """One line at the end of a stage, and while it lasts one a minute, or a tenth of the work."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._note = ""
        self._start: float | None = None
        self._first = 0  # what was done when the stage began, as in a run that goes on
        self._told_at = 0.0
        self._told = 0

    @override
    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._start is None:
            self._start, self._first, self._told_at, self._told = now, done, now, done
        age = now - self._told_at
        tenth = 10 * (done - self._told) >= total and age >= _TENTH_SECONDS
        if (done >= total and self._told < total) or tenth or age >= _LINE_SECONDS:
            self._told_at, self._told = now, done
            self._tell(done, total, now - self._start)

    @override
    def note(self, text: str) -> None:
        self._note = f", {text}"

    def _tell(self, done: int, total: int, seconds: float) -> None:
        left = ""
        if done < total and done > self._first:
            left = f", about {_clock(seconds * (total - done) / (done - self._first))} left of this stage"
        resumed = f", {self._first:,} of them done before" if self._first else ""
        say(f"{self._what}{self._note}: {done:,} of {total:,}{resumed}, {_clock(seconds)}{left}")


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def start_tensorflow() -> None:
    """Import TensorFlow, which takes seconds, and say so."""
    with console.status("Starting TensorFlow"):
        import tritguard.train.backend  # noqa: F401, PLC0415


@contextmanager
def stages() -> Iterator[Callable[[str], Stage]]:
    """Show the stages of a verb: `named("what")` names one and gives the `Progress` to call.

    A stage with nothing to do, such as a finished download, shows nothing.
    """
    if not console.is_terminal:
        yield _Lines
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    bars = Bars(*columns, console=console)
    try:
        yield functools.partial(_Bar, bars)
    finally:
        if bars.tasks:
            bars.stop()


@contextmanager
def bar(what: str) -> Iterator[Stage]:
    """Show a single stage."""
    with stages() as named:
        yield named(what)
