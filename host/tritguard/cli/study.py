"""What the verbs of studies share: options with lists, progress, printing a result and ending with its exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import typer

from tritguard.cli.progress import stages, start_tensorflow
from tritguard.cli.terminal import console, tell
from tritguard.errors import BadInputError
from tritguard.evaluate.kind import StudyKind
from tritguard.evaluate.registry import kind_of
from tritguard.evaluate.study import Study
from tritguard.progress import Stages
from tritguard.records import Record, from_table, from_toml
from tritguard.report.registry import to_terminal

P = TypeVar("P", bound=Record)

_OTHER_BYTES = ("DEVICE_TWIN_MISMATCH", "DEVICE_ORACLE_MISMATCH", "BOARDS_DISAGREE")


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
    options = {name: value for name, value in given.items() if value is not None}
    if config is None:
        return from_table(kind.plan, options, where="options")
    return from_toml(kind.plan, config, table=kind.table, options=options)


@contextmanager
def study_stages(*, tensorflow: bool = True) -> Iterator[Stages]:
    """Start TensorFlow, which most studies need, then show a bar for each stage."""
    if tensorflow:
        start_tensorflow()
    with stages() as named:
        yield named


def show(result: Study, path: Path, *, alone: bool = True) -> None:
    """Print a result, and where it and its report lie; `alone`: it is all that the verb has to tell."""
    if alone:
        tell(result)
    console.print(to_terminal(result))
    report = kind_of(result).report_beside(path)
    console.print(f"\nresult: {path}\nreport: {report}", soft_wrap=True)


def leave(*results: Study) -> None:
    """End the verb as the worst result has it: 5 where the device gives other bytes, 1 where a result is invalid."""
    if any(issue.code in _OTHER_BYTES for result in results for issue in result.issues):
        raise typer.Exit(5)
    if any(result.status == "invalid" for result in results):
        raise typer.Exit(1)
