"""Jobs as they are sent to other processes, and what they do there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from tritguard.attack import Attack, Ball, Target
from tritguard.attack.base import Access, Labels
from tritguard.attack.rivals import Rivals
from tritguard.attack.view import GradientView
from tritguard.campaign.job import Done, Job, craft
from tritguard.emit import open_bundle
from tritguard.errors import BadInputError
from tritguard.graph.passes.unrolled import unrolled
from tritguard.predictor import Int8
from tritguard.twin import Twin

# Roughly the time that an attack of a preset takes for a sample in one ball on one core, by the size of the network.
_SECONDS_A_SAMPLE = 4e-3
_SECONDS_A_MAC = 1e-8


@dataclass(frozen=True)
class Order:
    """A job as it is sent: neither a library nor a TensorFlow graph can be sent, so a worker opens the model itself.

    Its other fields are those of `Job` and `Target`.

    Attributes:
        bundle: the folder of the attacked model.
        temperature: the temperature of its view.
    """

    attack: Attack
    ball: Ball
    first: int
    bundle: Path
    temperature: float
    x: Int8
    y: Labels
    seed: int
    aim: Labels | None
    access: Access
    rivals: Rivals | None
    starts: Int8 | None

    @classmethod
    def of(cls, job: Job, bundle: Path, temperature: float) -> Self:
        """What to send for a job on the model in a bundle."""
        part = job.target
        return cls(
            job.attack, job.ball, job.first, bundle, temperature, part.x, part.y, part.seed, part.aim, part.access,
            part.rivals, part.starts,
        )  # fmt: skip

    def job(self, twin: Twin, view: GradientView) -> Job:
        """The job on a model that this process has opened."""
        target = Target(twin, view, self.x, self.y, self.seed, self.aim, self.access, self.rivals, self.starts)
        return Job(self.attack, self.ball, target, self.first)


def carry_out(order: Order) -> Done:
    """Do what an order says, in this process."""
    twin, view = _model(order.bundle, order.temperature, order.x.shape[1])
    if order.attack.kind == "white box":
        view.logits(order.x[:1].astype(np.float32))  # so that TensorFlow's start is not part of the attack's time
    return craft(order.job(twin, view))


@lru_cache(maxsize=2)  # the model and its control
def _model(bundle: Path, temperature: float, frames: int) -> tuple[Twin, GradientView]:
    """The model that a worker's jobs attack, opened once per process; one with state takes streams of `frames`."""
    opened = open_bundle(bundle, trust=True)  # the process that sent the job has compiled its C already, or made it
    return Twin(opened, threads=1), GradientView(unrolled(opened.golden, frames), temperature)


class Pool(Protocol):
    """Processes that craft, here or elsewhere.

    Attributes:
        count: how many there are.
    """

    @property
    def count(self) -> int:
        """See the class."""
        ...

    def pays(self, jobs: int, seconds: float) -> bool:
        """Whether the pool does these jobs sooner than this process, which may take this many seconds."""
        ...

    def run(self, orders: Sequence[Order]) -> Iterator[tuple[int, Done]]:
        """The orders' places and outcomes, in the order they finish; dropping the iterator ends the work at once.

        Raises:
            TritguardError: raised by an attack, or because processes died.
        """
        ...


@dataclass(frozen=True)
class Crew:
    """A model, and the processes that craft on it.

    Attributes:
        workers: the processes, which other models may share.
        bundle: the folder of the attacked model.
        temperature: the temperature of the view, see `GradientView`.
        macs: the multiply-accumulates of one inference.
    """

    workers: Pool
    bundle: Path
    temperature: float
    macs: int

    def pays(self, jobs: Sequence[Job]) -> bool:
        """Whether the processes do the jobs sooner than this one would, by a rough estimate of their time."""
        samples = sum(len(job.target.x) for job in jobs)
        return self.workers.pays(len(jobs), samples * (_SECONDS_A_SAMPLE + self.macs * _SECONDS_A_MAC))

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Done]]:
        """The jobs' places and outcomes; see `Pool.run`.

        Raises:
            BadInputError: an attack is defined in the script that runs, which the processes do not import.
            TritguardError: raised by an attack, or because a process died.
        """
        for attack in (job.attack for job in jobs if type(job.attack).__module__ == "__main__"):
            raise BadInputError("is defined in the script that runs", where=attack.name, fix="move it to a module")
        return self.workers.run([Order.of(job, self.bundle, self.temperature) for job in jobs])
