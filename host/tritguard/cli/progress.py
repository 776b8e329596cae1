"""The progress bars of everything that takes longer than two seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console()

Report = Callable[[int, int], None]


@contextmanager
def stages() -> Iterator[Callable[[str], Report]]:
    """Show one bar a stage: `progress("what")` starts a stage and gives the `report(done, total)` its room calls."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:

        def stage(what: str) -> Report:
            task = progress.add_task(what, total=None)

            def report(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)

            return report

        yield stage


@contextmanager
def bar(what: str) -> Iterator[Report]:
    """One stage alone."""
    with stages() as progress:
        yield progress(what)
