"""tritguard report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tritguard.api.robustness import RESULT
from tritguard.cli.progress import console
from tritguard.errors import BadInputError
from tritguard.evaluate.registry import kind_of, read_study, studies_beside
from tritguard.files import write_whole
from tritguard.report.registry import to_html, to_terminal


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
    target = output or kind_of(study).report_beside(path)
    if target.resolve() == path.resolve():
        raise BadInputError("is the result itself", where=str(target), fix="name another file for the report")
    beside = studies_beside(path, study)
    written = to_html(study, beside)
    try:
        write_whole(target, written)
    except OSError as error:
        raise BadInputError(f"cannot be written ({error.strerror})", where=str(target)) from error
    if as_json:
        typer.echo(study.model_dump_json(indent=2))
        return
    console.print(to_terminal(study, beside))
    console.print(f"\nreport: {target}", markup=False, highlight=False, soft_wrap=True)
