"""What the verbs of studies share: options with lists, and how a study ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import typer
from rich.console import Group

from tritguard.cli.progress import console
from tritguard.errors import BadInputError
from tritguard.evaluate.fault_result import FaultResult
from tritguard.evaluate.privacy_result import PrivacyResult
from tritguard.evaluate.study import Study
from tritguard.evaluate.transfer_result import TransferResult
from tritguard.files import write_whole
from tritguard.records import Record, from_json, from_table, read_toml
from tritguard.report import faults, privacy, transfer
from tritguard.report.study import Page, page, table

_KINDS: dict[str, tuple[type[Study], Callable[[Any], Page]]] = {
    "faults": (FaultResult, faults.content),
    "privacy": (PrivacyResult, privacy.content),
    "transfer": (TransferResult, transfer.content),
}

R = TypeVar("R", bound=Record)


def numbers(option: str, text: str) -> list[int]:
    """Whole numbers separated by commas.

    Raises:
        BadInputError: something else.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise BadInputError(f"{option} {text}: whole numbers separated by commas are wanted") from error


def settings(kind: type[R], table: str, config: Path | None, given: dict[str, Any]) -> R:
    """A plan: the defaults, over them the file's table, over that the options that were given.

    Raises:
        BadInputError: unreadable, no such table, or a setting that is unknown or out of range.
    """
    tables = {table: {}} if config is None else read_toml(config)
    if table not in tables:
        raise BadInputError(f"no [{table}] table", where=str(config), fix="add one")
    where = "options" if config is None else f"{config}: {table}"
    return from_table(
        kind, tables[table] | {name: value for name, value in given.items() if value is not None}, where=where
    )


def read_study(path: Path) -> Study | None:
    """The study in a JSON file; None where the file says of no kind of study that it is one.

    Raises:
        BadInputError: it does, and is none.
    """
    try:
        kind = json.loads(path.read_bytes()).get("kind")
    except (OSError, ValueError, AttributeError):  # for the reader of other results to say what is wrong
        return None
    if kind not in _KINDS:
        return None
    return from_json(_KINDS[kind][0], path, fix=f"give a {kind}.json of schema version 1")


def rendered(result: Study) -> tuple[str, Group]:
    """The report as HTML and for the terminal."""
    content = _KINDS[result.kind][1](result)
    return page(result, content), table(result, content)


def conclude(result: Study, path: Path) -> None:
    """Write result and report, print; exit code 5 where device and twin differ, 1 where invalid otherwise."""
    write_whole(path, result.model_dump_json(indent=2) + "\n")
    report = path.with_suffix(".html")
    written, shown = rendered(result)
    write_whole(report, written)
    console.print(shown)
    console.print(f"\nresult: {path}\nreport: {report}", markup=False, highlight=False, soft_wrap=True)
    if any(issue.code == "DEVICE_TWIN_MISMATCH" for issue in result.issues):
        raise typer.Exit(5)
    if result.status == "invalid":
        raise typer.Exit(1)
