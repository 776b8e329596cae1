"""The unit of crafting, which is stored, resumed and given to one core."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tritguard.attack import Attack, Ball, Crafted, Target


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
    """

    crafted: Crafted
    seconds: float
    processor_seconds: float


def craft(job: Job) -> Done:
    """Do the job in this process."""
    start, processor = time.perf_counter(), time.process_time()
    crafted = job.attack.craft(job.target, job.ball)
    return Done(crafted, time.perf_counter() - start, time.process_time() - processor)
