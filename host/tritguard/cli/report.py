"""tritguard report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType

from tritguard.api.robustness import REPORT, RESULT
from tritguard.cli.progress import console
from tritguard.cli.study import content, read_study, studies_beside
from tritguard.errors import BadInputError
from tritguard.evaluate.robustness.result import Result, read_result
from tritguard.evaluate.study import Study
from tritguard.files import write_whole
from tritguard.report import html, terminal
from tritguard.report.study import page, table


def command(
    source: Annotated[Path, typer.Argument(metavar="RESULT.json|RUN_DIR", help="A result, or the folder it is in.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The HTML file; if not given, report.html beside the result.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checked result as JSON, and no table.")] = False,
) -> None:
    """Print what a run found and write it as one self-contained HTML file."""

    path = source / RESULT if source.is_dir() else source
    if path.suffix == ".html":
        raise BadInputError(
            "is a report, made from a result", where=str(path), fix=f"give its folder, or the {RESULT} beside it"
        )
    study = read_study(path)
    target = output or (path.with_name(REPORT) if study is None else path.with_suffix(".html"))
    if target.resolve() == path.resolve():
        raise BadInputError("is the result itself", where=str(target), fix="name another file for the report")
    result, written, shown = _of_run(path) if study is None else _of_study(study)
    try:
        write_whole(target, written)
    except OSError as error:
        raise BadInputError(f"cannot be written ({error.strerror})", where=str(target)) from error
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
        return
    console.print(Group(*shown))
    console.print(f"\nreport: {target}", markup=False, highlight=False, soft_wrap=True)


def _of_run(path: Path) -> tuple[Result, str, list[RenderableType]]:
    """An evaluation, its report as HTML and for the terminal; studies of the same model beside it are part of it."""
    result = read_result(path)
    studies = [(study, content(study)) for study in studies_beside(path, result)]
    return result, html.render(result, studies), [terminal.render(result), *(table(*each) for each in studies)]


def _of_study(study: Study) -> tuple[Study, str, list[RenderableType]]:
    shown = content(study)
    return study, page(study, shown), [table(study, shown)]
