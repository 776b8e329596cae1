"""Results side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tritguard.errors import BadInputError
from tritguard.evaluate.registry import leading, read_study
from tritguard.evaluate.robustness.result import RobustnessResult
from tritguard.files import write_whole
from tritguard.report import comparison
from tritguard.report.compare import to_html
from tritguard.report.comparison import Comparison


def compare(sources: Sequence[str | Path], out: str | Path | None = None) -> Comparison:
    """Compare robustness results, paired by sample; the first one is what the others are compared with.

    Args:
        sources: two or more results, or folders of runs.
        out: the folder for `comparison.json` and `comparison.html`; without it nothing is written.

    Raises:
        BadInputError: a result cannot be read, is of another study, or cannot be compared with the first.
    """
    found = comparison.compare([_read(Path(source)) for source in sources])
    if out is not None:
        folder = Path(out)
        write_whole(folder / "comparison.json", found.model_dump_json(indent=2) + "\n")
        write_whole(folder / "comparison.html", to_html(found))
    return found


def _read(source: Path) -> tuple[str, RobustnessResult]:
    path = source / leading().file if source.is_dir() else source
    study = read_study(path)
    if not isinstance(study, RobustnessResult):
        fix = f"give a {leading().file}: no other study's samples can be paired"
        raise BadInputError(f"is a result of {study.kind}", where=str(path), fix=fix)
    return str(source), study
