"""How far a run is, kept in a file in its folder for those who watch."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field

from tritguard.errors import BadInputError, TritguardError
from tritguard.files import write_whole
from tritguard.progress import Progress, Stages
from tritguard.records import Record, from_json

FILE = "progress.json"
BEAT_SECONDS = 5.0  # the file is written at least this often while the run lives
_LEAST_SECONDS = 0.5  # and not more often than this
_SILENT_SECONDS = 4 * BEAT_SECONDS
_KEPT = 100  # the most stages that the file holds
_STOPPED = (KeyboardInterrupt, SystemExit)

# What a page can show: a float holds every such count exactly, and sums of such times do not overflow.
Count = Annotated[int, Field(ge=0, le=2**53)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]
State = Literal["running", "done", "stopped", "failed"]


class StageProgress(Record):
    """One stage: how much is done of how much, and since when, in seconds from the run's start."""

    step: str
    name: str
    done: Count
    total: Count
    began: Seconds
    seconds: Seconds


class EarlierProgress(Record):
    """What another verb did in the same folder before: its stages, as its own journal had them."""

    verb: str
    stages: tuple[StageProgress, ...]


class RunProgress(Record):
    """How far a run is.

    Attributes:
        name: what the run calls its model; empty if it gives it no name.
        board: the board it was asked to use, and whether that is emulated; empty where it names none.
        verb: what was asked for: `run`, or the table of the one study.
        updated: when the file was written last; `alive` says what follows from it.
        message: why a run failed.
        stages: the newest ones, in the order they began.
        earlier: what other verbs did in this folder before: the latest run of each, in order of time.
    """

    schema_version: Literal[1] = 1
    kind: Literal["progress"] = "progress"
    name: str
    verb: str
    started: AwareDatetime
    updated: AwareDatetime
    state: State
    message: str = ""
    step: str = ""
    stages: tuple[StageProgress, ...] = ()
    board: str = ""
    earlier: tuple[EarlierProgress, ...] = ()

    @property
    def alive(self) -> bool:
        """Whether the run goes on: one that was killed cannot say so, but its file grows old.

        A run whose file is dated further in the future than two clocks may differ does not go on either.
        """
        return self.state == "running" and abs((datetime.now(UTC) - self.updated).total_seconds()) < _SILENT_SECONDS


def read_progress(folder: Path) -> RunProgress | None:
    """Read how far the run of a folder is; None if it left no word about it.

    Raises:
        BadInputError: the file is damaged, or is no such record.
    """
    path = folder / FILE
    return from_json(RunProgress, path, fix="remove it") if path.is_file() else None  # a pipe would block


class Journal:
    """Writes how far a run is into its folder, from the moment it is entered until it is left.

    The file is a convenience: a folder that cannot be written at the moment does not end the run.

    Args:
        folder: the run's folder, made if it is missing.
        verb: what was asked for.
        name: what the run calls its model; without one, what an earlier verb in the folder called it stays.
        board: the board that it is to use; see `keeping.board_shown`.
    """

    def __init__(self, folder: Path, verb: str, name: str = "", board: str = "") -> None:
        self._path = folder / FILE
        self._start, self._written = time.monotonic(), 0.0
        self._stages: deque[StageProgress] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()
        self._over = threading.Event()
        before, now = _before(folder), datetime.now(UTC)
        self._record = RunProgress(
            name=name or ("" if before is None else before.name),
            verb=verb,
            started=now,
            updated=now,
            state="running",
            board=board,
            earlier=() if before is None else _earlier(before, verb),
        )

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._write()
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._over.set()
        state: State = "done" if kind is None else "stopped" if issubclass(kind, _STOPPED) else "failed"
        message = str(error) if isinstance(error, (TritguardError, OSError)) else "" if kind is None else kind.__name__
        self._change(state=state, message=message)
        self._write()

    def begins(self, step: str) -> None:
        """Take note that a step with this name begins."""
        self._change(step=step)
        self._write()

    def watching(self, stages: Stages) -> Stages:
        """Stages that pass what they are told on to `stages`, and write it to the file."""

        def stage(name: str) -> Progress:
            return self._followed(name, stages(name))

        return stage

    def _followed(self, name: str, inner: Progress) -> Progress:
        place: list[StageProgress] = []  # the stage, once it has begun

        def progress(done: int, total: int) -> None:
            inner(done, total)
            now = self._age()
            with self._lock:
                first = not place
                began = now if first else place[0].began
                seen = StageProgress(
                    step=self._record.step, name=name, done=done, total=total, began=began, seconds=now - began
                )
                if place and place[0] in self._stages:
                    self._stages[self._stages.index(place[0])] = seen
                elif not place:
                    self._stages.append(seen)
                place[:] = [seen]
            if first or done == total or now - self._written >= _LEAST_SECONDS:
                self._write()

        return progress

    def _age(self) -> float:
        return time.monotonic() - self._start

    def _change(self, **fields: str) -> None:
        with self._lock:
            self._record = self._record.model_copy(update=fields)

    def _write(self) -> None:
        with self._lock, suppress(OSError):
            self._written = self._age()
            fields = {"updated": datetime.now(UTC), "stages": tuple(self._stages)}
            write_whole(self._path, self._record.model_copy(update=fields).model_dump_json(indent=2) + "\n")

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            self._write()


def _before(folder: Path) -> RunProgress | None:
    """What the folder's last verb left; None if it is damaged, since it is about to be replaced."""
    with suppress(BadInputError, OSError):
        return read_progress(folder)
    return None


def _earlier(before: RunProgress, verb: str) -> tuple[EarlierProgress, ...]:
    """Keep what verbs other than this one did; what the last verb did replaces what that verb did before."""
    last = EarlierProgress(verb=before.verb, stages=before.stages)
    others = (one for one in before.earlier if one.verb != last.verb)
    return tuple(one for one in (*others, last) if one.verb != verb and one.stages)
