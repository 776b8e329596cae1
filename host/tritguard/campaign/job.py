"""The unit of crafting, which is stored, resumed and given to one core."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritguard.attack import Attack, Ball, Crafted, Target
from tritguard.errors import TritguardError


@dataclass(frozen=True)
class Job:
    """One attack in one ball on some of the samples.

    Attributes:
        target: the attacked model with only these samples.
        first: the place of the first of them among all samples.
    """

    attack: Attack
    ball: Ball
    target: Target
    first: int


@dataclass(frozen=True)
class Done:
    """The outcome of a job.

    Attributes:
        seconds: the time it took by the clock.
        processor_seconds: the processor time of all threads, which other work on the machine does not lengthen.
        worker: the machine and the process that did it.
    """

    crafted: Crafted
    seconds: float
    processor_seconds: float
    worker: str = ""


def craft(job: Job) -> Done:
    """Do the job in this process."""
    start, processor = time.perf_counter(), time.process_time()
    crafted = job.attack.craft(job.target, job.ball)
    worker = f"{platform.node()}:{os.getpid()}"
    return Done(crafted, time.perf_counter() - start, time.process_time() - processor, worker)


class OutOfBallError(TritguardError):
    """An attack gave inputs that its threat model does not allow: a bug of the attack."""


def check_crafted(job: Job, x: NDArray[np.generic]) -> None:
    """Check that candidates are int8 inputs of the model, one for each sample, in the job's ball and the data's range.

    Raises:
        OutOfBallError: they are not.
    """
    clean, ball, fix = job.target.x, job.ball, "this is a bug of the attack: please report it; nothing was counted"
    where = f"{job.attack.name}, {ball.norm}, eps {ball.eps}"
    if x.dtype != np.int8 or x.shape != clean.shape:
        what = f"gave {x.dtype}{list(x.shape)} for inputs of int8{list(clean.shape)}"
        raise OutOfBallError(what, where=where, fix=fix)
    lowest, highest = int(x.min()), int(x.max())
    if lowest < ball.low or highest > ball.high:
        what = f"left the data's range, {ball.low} to {ball.high} in steps: gave {lowest} to {highest}"
        raise OutOfBallError(what, where=where, fix=fix)
    distances = ball.distances(x.view(np.int8), clean)
    farthest = int(distances.argmax())
    if distances[farthest] > ball.eps:
        what = f"left its ball: {distances[farthest]:g} {ball.geometry.unit}s from sample {job.first + farthest}"
        raise OutOfBallError(what, where=where, fix=fix)
