"""The runs in a folder: how far those under way are, and what the others found."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tritguard.api.journal import FILE as JOURNAL
from tritguard.api.journal import RunProgress, read_progress
from tritguard.errors import BadInputError
from tritguard.evaluate.registry import STUDIES, kind_of, read_study
from tritguard.evaluate.robustness.result import RobustnessResult
from tritguard.evaluate.robustness.so_far import CurveSoFar, read_so_far
from tritguard.evaluate.selftest import Selftest, read_selftest
from tritguard.evaluate.study import Study

_DEPTH = 4  # folders below the one that is served
_RESULTS = tuple(kind.file for kind in STUDIES)
_SELFTEST = "selftest.json"
_INNER = {"crafted", "bundle", "train", "control", "evidence", "node_modules"}  # folders of a run, which hold no runs
_SCHEMA = re.compile(rb'\s*\{\s*"\$schema"\s*:')
_SCHEMA_BYTES = 256
_REMEMBERED = 4096  # results, which are checked whole whenever they are read


@dataclass(frozen=True)
class Run:
    """A folder in which a run left something.

    Attributes:
        id: its path from the served folder, with slashes; `.` for that folder itself.
        progress: what its journal says about how far it is; None for results from elsewhere or of earlier versions.
        so_far: the curve of attacks under way.
        studies: what it found, the leading study first.
        problems: what could not be read, in a line each.
    """

    id: str
    folder: Path
    progress: RunProgress | None
    so_far: CurveSoFar | None
    studies: tuple[Study, ...]
    problems: tuple[str, ...]

    @property
    def alive(self) -> bool:
        """Whether it is under way."""
        return self.progress is not None and self.progress.alive

    @property
    def robustness(self) -> RobustnessResult | None:
        """Its attacks' result, if there is one."""
        return next((study for study in self.studies if isinstance(study, RobustnessResult)), None)

    @property
    def state(self) -> str:
        """What became of it, in a word."""
        if self.progress is None or self.progress.state != "running":
            return "done" if self.progress is None else self.progress.state
        return "running" if self.alive else "killed"


def find_runs(root: Path) -> list[Run]:
    """Find the runs of a folder, those under way first, then by the newest file.

    A result that cannot be read is listed in the run's `problems`. Links to folders are not followed.
    """
    runs = [_read(root, folder) for folder in _folders(root) if _holds_run(folder)]
    return sorted(runs, key=lambda run: (not run.alive, -_newest(run.folder), run.id))


def find_selftests(root: Path) -> list[tuple[str, Selftest]]:
    """Find the records of boards that were tried, newest first, each with its file from the served folder."""
    found = []
    for folder in _folders(root):
        path = folder / _SELFTEST
        if path.is_file():
            try:
                found.append((path.relative_to(root).as_posix(), read_selftest(path)))
            except BadInputError:  # changed, or something else of this name: it says nothing about a board
                continue
    return sorted(found, key=lambda one: one[1].made, reverse=True)


def _folders(root: Path) -> Iterator[Path]:
    for name, inner, _ in os.walk(root):
        folder = Path(name)
        depth = len(folder.relative_to(root).parts)
        keep = depth < _DEPTH
        inner[:] = sorted(one for one in inner if keep and one not in _INNER and not one.startswith("."))
        yield folder


def _holds_run(folder: Path) -> bool:
    return any(_is_file(folder / name) for name in (JOURNAL, *_RESULTS))


def _is_file(path: Path) -> bool:
    """Whether there is a file that is no JSON Schema; `tritguard schema -o` writes those under the same names."""
    if not path.is_file():  # a pipe of this name would block
        return False
    try:
        with path.open("rb") as file:
            return not _SCHEMA.match(file.read(_SCHEMA_BYTES))
    except OSError:  # reported when the file is read
        return True


def _newest(folder: Path) -> float:
    return max(_changed(folder / name) for name in (JOURNAL, *_RESULTS))


def _changed(path: Path) -> float:
    """When a file was last changed; 0 if there is none, or if it has gone since it was looked for."""
    try:
        return path.stat().st_mtime if _is_file(path) else 0.0
    except OSError:
        return 0.0


def _read(root: Path, folder: Path) -> Run:
    problems: list[str] = []
    studies: list[Study] = []
    for kind in STUDIES:
        path = folder / kind.file
        if _is_file(path):
            try:
                stamp = path.stat()
                study = _study(path, stamp.st_mtime_ns, stamp.st_size)
            except (BadInputError, OSError) as error:
                problems.append(f"{kind.file}: {error.what if isinstance(error, BadInputError) else error.strerror}")
            else:
                studies.append(study)
    progress = so_far = None
    try:
        progress = read_progress(folder)
        so_far = read_so_far(folder)
    except BadInputError as error:
        problems.append(str(error))
    name = folder.relative_to(root).as_posix()
    studies.sort(key=lambda study: not kind_of(study).leads)
    return Run(name, folder, progress, so_far, tuple(studies), tuple(problems))


@lru_cache(maxsize=_REMEMBERED)
def _study(path: Path, _changed: int, _size: int) -> Study:
    """Read a result once, until its file changes."""
    return read_study(path)
