"""tritguard report: prints a result and writes its report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tritguard.api import report
from tritguard.cli.gates import AnnotationsOption, FailOnOption, FailUnderOption, JunitOption, leave_by_gates
from tritguard.cli.terminal import console, tell
from tritguard.report.registry import to_terminal


def command(
    source: Annotated[Path, typer.Argument(metavar="RESULT.json|RUN_DIR", help="A result, or the folder it is in.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The HTML file; if not given, report.html beside the result.")
    ] = None,
    fail_under: FailUnderOption = None,
    fail_on: FailOnOption = None,
    junit: JunitOption = None,
    annotate: AnnotationsOption = False,
) -> None:
    """Print what a run found and write it as one self-contained HTML file."""
    target, (study, *beside) = report(source, output)
    tell(study)
    console.print(to_terminal(study, beside))
    console.print(f"\nreport: {target}", soft_wrap=True)
    leave_by_gates([study, *beside], fail_under, fail_on, junit, annotate, always=False)
