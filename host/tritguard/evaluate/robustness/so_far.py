"""The curve while attacks still run, kept in a file for those who watch; it can only fall."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import AwareDatetime, Field, model_validator

from tritguard.attack import Ball, Target
from tritguard.campaign.job import Job
from tritguard.files import write_whole
from tritguard.predictor import Int8
from tritguard.records import Record, from_json

FILE = "so-far.json"
_LEAST_SECONDS = 1.0  # between two writes of the file

_Count = Annotated[int, Field(ge=0, le=2**53)]  # a float holds every such number, so that a chart can be drawn of it


class HeldSoFar(Record):
    """How many samples no attack has broken yet at an eps, in int8 steps, or a smaller one."""

    eps_steps: Annotated[int, Field(ge=1, le=2**31)]
    held: _Count


class CurveSoFar(Record):
    """What attacks on the twin have left so far. It is no result: attacks are missing, and no device has confirmed it.

    Attributes:
        samples: how many samples are attacked.
        right: how many of them the twin gets right without an attack.
        jobs: how many jobs of the attacks are counted.
    """

    schema_version: Literal[1] = 1
    kind: Literal["so-far"] = "so-far"
    updated: AwareDatetime
    samples: Annotated[int, Field(ge=1, le=2**53)]
    right: _Count
    jobs: _Count
    points: tuple[HeldSoFar, ...]

    @model_validator(mode="after")
    def _counts_its_samples(self) -> Self:
        for name, count in (("right", self.right), *(("held", point.held) for point in self.points)):
            if count > self.samples:
                raise ValueError(f"{name}: {count} of {self.samples} samples")
        return self


def read_so_far(folder: Path) -> CurveSoFar | None:
    """Read what the attacks of a run under way have left so far; None if none runs.

    Raises:
        BadInputError: the file is damaged, or is no such record.
    """
    path = folder / FILE
    return from_json(CurveSoFar, path, fix="remove it") if path.is_file() else None


class SoFar:
    """Counts, job by job, which samples still hold, and writes it down.

    Args:
        target: the attacked model and all its samples.
        balls: where it is attacked; the last one may lie beyond the threat model.
        path: the file.
    """

    def __init__(self, target: Target, balls: Sequence[Ball], path: Path) -> None:
        self._target, self._path = target, path
        self._first = np.full(len(target.x), np.iinfo(np.int64).max)  # the smallest eps that broke each sample
        self._first[target.predictor.predict(target.x).labels != target.y] = 0
        self._eps = sorted(ball.eps for ball in balls)
        self._jobs, self._written = 0, 0.0

    def __call__(self, job: Job, x: Int8) -> None:
        """Take in what a job found, int8[n, *input_shape]."""
        rows = slice(job.first, job.first + len(x))
        broken = job.target.broken(self._target.predictor.predict(x).labels)
        self._first[rows] = np.where(broken, np.minimum(self._first[rows], job.ball.eps), self._first[rows])
        self._jobs += 1
        if time.monotonic() - self._written >= _LEAST_SECONDS:
            self._written = time.monotonic()
            with suppress(OSError):  # the file is a convenience, and a failure to write it must not end the run
                write_whole(self._path, self.record.model_dump_json(indent=2) + "\n")

    @property
    def record(self) -> CurveSoFar:
        """What is known by now."""
        return CurveSoFar(
            updated=datetime.now(UTC),
            samples=len(self._first),
            right=int((self._first > 0).sum()),
            jobs=self._jobs,
            points=tuple(HeldSoFar(eps_steps=eps, held=int((self._first > eps).sum())) for eps in self._eps),
        )


@contextmanager
def following(target: Target, balls: Sequence[Ball], out: Path) -> Iterator[SoFar]:
    """Keep the curve in a file in `out` while the block runs, and remove the file when it ends."""
    path = out / FILE
    try:
        yield SoFar(target, balls, path)
    finally:
        path.unlink(missing_ok=True)
