"""The report of a result."""

from __future__ import annotations

from pathlib import Path

from tritguard.errors import BadInputError
from tritguard.evaluate.registry import kind_of, leading, read_study, studies_beside
from tritguard.evaluate.study import Study
from tritguard.files import write_whole
from tritguard.report.registry import to_html


def report(source: str | Path, out: str | Path | None = None) -> tuple[Path, list[Study]]:
    """Read a result again and write its report as one self-contained HTML file.

    Args:
        source: a result's JSON file, or the folder of a run.
        out: the HTML file; by default it is written beside the result.

    Returns:
        The file that was written, and the results in it: the one read, then those of other studies of the same model
        that lie beside it and that its report takes in.

    Raises:
        BadInputError: the result cannot be read, is damaged or of another version, or the report cannot be written.
    """
    place = Path(source)
    path = place / leading().file if place.is_dir() else place
    if path.suffix == ".html":
        fix = f"give its folder, or the {leading().file} beside it"
        raise BadInputError("is a report, made from a result", where=str(path), fix=fix)
    study = read_study(path)
    target = kind_of(study).report_beside(path) if out is None else Path(out)
    if target.resolve() == path.resolve():
        raise BadInputError("is the result itself", where=str(target), fix="name another file for the report")
    beside = studies_beside(path, study)
    page = to_html(study, beside)
    try:
        write_whole(target, page)
    except OSError as error:
        raise BadInputError(f"cannot be written ({error.strerror})", where=str(target)) from error
    return target, [study, *beside]
