"""tritguard compare: sets results side by side, paired by sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tritguard.api.comparing import compare
from tritguard.cli.terminal import console, tell
from tritguard.report.compare import to_terminal


def command(
    sources: Annotated[
        list[Path], typer.Argument(metavar="RUN_DIR|RESULT.json ...", help="Two or more; the first is the base.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for comparison.json and comparison.html.")
    ] = None,
) -> None:
    """Say what got better or worse between results, sample by sample, and what it costs."""
    found = compare(sources, out)
    tell(found)
    console.print(to_terminal(found))
    if out is not None:
        console.print(f"\ncomparison: {out / 'comparison.html'}", soft_wrap=True)
