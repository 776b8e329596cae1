"""The options of `attack`, `run` and `report` for pipelines, and how a verb ends that has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tritguard.cli.study import leave
from tritguard.cli.terminal import errors, say_always
from tritguard.evaluate.study import Study
from tritguard.files import write_whole
from tritguard.printable import printable
from tritguard.report.gates import EXIT_CODE, FailOn, failures, judge
from tritguard.report.github import workflow_commands
from tritguard.report.junit import to_junit

_PANEL = "For pipelines"

FailUnderOption = Annotated[
    float | None,
    typer.Option(
        "--fail-under",
        min=0,
        max=1,
        help="Least robust accuracy at the largest eps of the threat model, from 0 to 1; exit code 7 below it.",
        rich_help_panel=_PANEL,
    ),
]
FailOnOption = Annotated[
    FailOn | None,
    typer.Option("--fail-on", help="Exit code 7 for results that are degraded, or invalid.", rich_help_panel=_PANEL),
]
JunitOption = Annotated[
    Path | None,
    typer.Option("--junit", metavar="FILE", help="Write checks and gates as JUnit XML.", rich_help_panel=_PANEL),
]
AnnotationsOption = Annotated[
    bool,
    typer.Option("--annotations", help="Print findings as GitHub's workflow commands.", rich_help_panel=_PANEL),
]


def leave_by_gates(
    results: Sequence[Study],
    fail_under: float | None,
    fail_on: FailOn | None,
    junit: Path | None,
    annotate: bool,
    *,
    always: bool = True,
) -> None:
    """Write what a pipeline asked for, and end the verb as its gates and its results have it.

    Args:
        results: the results.
        fail_under: see `judge`.
        fail_on: see `judge`; None asks for nothing.
        junit: the file for JUnit XML.
        annotate: print GitHub's workflow commands.
        always: end with 5 or 1, as the verbs that make results do, where no gate was asked for.
    """
    cases = judge(results, fail_under=fail_under, fail_on=fail_on or "invalid")
    if junit is not None:
        write_whole(junit, to_junit(cases))
    if annotate:
        for line in workflow_commands(results, cases):
            say_always(line)
    if always:
        leave(*results)
    failed = failures(cases)
    if (fail_under is not None or fail_on is not None) and failed:
        for case in failed:
            errors.print(printable(f"gate: {case.study}: {case.code}: {case.message}"))
        raise typer.Exit(EXIT_CODE)
