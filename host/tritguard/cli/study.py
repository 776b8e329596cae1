"""What the verbs of studies share: options with lists, how a study runs and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import typer

from tritguard.cli.progress import console, stages
from tritguard.errors import BadInputError
from tritguard.evaluate.kind import StudyKind
from tritguard.evaluate.study import Study
from tritguard.files import write_whole
from tritguard.progress import Stages
from tritguard.records import Record, from_table, read_toml
from tritguard.report.registry import to_html, to_terminal

P = TypeVar("P", bound=Record)
S = TypeVar("S", bound=Study)


def numbers(option: str, text: str) -> list[int]:
    """Whole numbers separated by commas.

    Raises:
        BadInputError: something else.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise BadInputError(f"{option} {text}: whole numbers separated by commas are wanted") from error


def settings(kind: StudyKind[P, Any], config: Path | None, given: dict[str, Any]) -> P:
    """Make a study's plan: its defaults, overridden by the file's table, overridden by the options that were given.

    Raises:
        BadInputError: the file cannot be read or has no such table, or a setting is unknown or out of range.
    """
    tables = {kind.table: {}} if config is None else read_toml(config)
    if kind.table not in tables:
        raise BadInputError(f"no [{kind.table}] table", where=str(config), fix="add one")
    where = "options" if config is None else f"{config}: {kind.table}"
    options = {name: value for name, value in given.items() if value is not None}
    return from_table(kind.plan, tables[kind.table] | options, where=where)


def study(kind: StudyKind[Any, S], out: Path, run: Callable[[Stages], S]) -> S:
    """Run a study with its progress shown, write its result and report, and print it. An older result goes first.

    Args:
        kind: the study.
        out: the folder for result and report, made if it is missing.
        run: carries the study out; it is given what names a stage and gives the callback that shows its progress.
    """
    path = out / kind.file
    report = kind.report_beside(path)
    out.mkdir(parents=True, exist_ok=True)
    for older in (path, report):
        older.unlink(missing_ok=True)
    with console.status("Starting TensorFlow"):
        import tritguard.train.backend  # noqa: F401, PLC0415
    with stages() as progress:
        result = run(progress)
    write_whole(path, result.model_dump_json(indent=2) + "\n")
    write_whole(report, to_html(result))
    console.print(to_terminal(result))
    console.print(f"\nresult: {path}\nreport: {report}", markup=False, highlight=False, soft_wrap=True)
    return result


def leave(*results: Study) -> None:
    """End the verb as the worst result has it: exit code 5 where device and twin differ, 1 where one is invalid."""
    if any(issue.code == "DEVICE_TWIN_MISMATCH" for result in results for issue in result.issues):
        raise typer.Exit(5)
    if any(result.status == "invalid" for result in results):
        raise typer.Exit(1)
