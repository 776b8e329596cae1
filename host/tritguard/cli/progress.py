"""The progress bars of everything that takes longer than two seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

console = Console()

Report = Callable[[int, int], None]


@contextmanager
def stages() -> Iterator[Callable[[str], Report]]:
    """Show one bar a stage: `progress("what")` names a stage and gives the `report(done, total)` its room calls.

    The bar appears with the first call: a stage with nothing to do, such as a download already made, shows none.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=console)

    def stage(what: str) -> Report:
        task: list[TaskID] = []

        def report(done: int, total: int) -> None:
            if not task:
                progress.start()
                task.append(progress.add_task(what))
            progress.update(task[0], completed=done, total=total)

        return report

    try:
        yield stage
    finally:
        if progress.tasks:
            progress.stop()


@contextmanager
def bar(what: str) -> Iterator[Report]:
    """One stage alone."""
    with stages() as progress:
        yield progress(what)
