"""What the verbs of studies share: options with lists, how a study runs and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import typer

from tritguard.cli.progress import console, stages
from tritguard.errors import BadInputError
from tritguard.evaluate.faults.result import FaultResult
from tritguard.evaluate.privacy.result import PrivacyResult
from tritguard.evaluate.robustness.result import Result
from tritguard.evaluate.study import Study
from tritguard.evaluate.transfer.result import TransferResult
from tritguard.files import write_whole
from tritguard.progress import Stages
from tritguard.records import Record, from_json, from_table, read_toml
from tritguard.report import faults, privacy, transfer
from tritguard.report.study import Page, page, table

_KINDS: dict[str, tuple[type[Study], Callable[[Any], Page]]] = {
    "faults": (FaultResult, faults.content),
    "transfer": (TransferResult, transfer.content),
    "privacy": (PrivacyResult, privacy.content),
}

R = TypeVar("R", bound=Record)
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


def studies_beside(path: Path, result: Result) -> list[Study]:
    """The studies that lie beside a result and are of the same model.

    Raises:
        BadInputError: one of them is damaged.
    """
    model = {result.provenance.bundle_sha256, result.provenance.model_sha256}
    found = (read_study(path.with_name(f"{kind}.json")) for kind in _KINDS)
    return [study for study in found if study is not None and model & study.models_sha256]


def content(result: Study) -> Page:
    """What a report shows of a study."""
    return _KINDS[result.kind][1](result)


def study(run: Callable[[Stages], S], path: Path) -> S:
    """Run a study with its progress shown, write result and report, print. An older result goes first.

    Args:
        run: given what names a stage and gives the callback that shows its progress.
        path: of the JSON file; the report is the HTML file beside it.
    """
    report = path.with_suffix(".html")
    path.parent.mkdir(parents=True, exist_ok=True)
    for older in (path, report):
        older.unlink(missing_ok=True)
    with console.status("Starting TensorFlow"):
        import tritguard.train.backend  # noqa: F401, PLC0415
    with stages() as progress:
        result = run(progress)
    write_whole(path, result.model_dump_json(indent=2) + "\n")
    shown = content(result)
    write_whole(report, page(result, shown))
    console.print(table(result, shown))
    console.print(f"\nresult: {path}\nreport: {report}", markup=False, highlight=False, soft_wrap=True)
    return result


def leave(*results: Result | Study) -> None:
    """End the verb as the worst result has it: exit code 5 where device and twin differ, 1 where one is invalid."""
    if any(issue.code == "DEVICE_TWIN_MISMATCH" for result in results for issue in result.issues):
        raise typer.Exit(5)
    if any(result.status == "invalid" for result in results):
        raise typer.Exit(1)
