"""Runs attacks on the twin in chunks of samples, on as many cores as there are workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from pydantic import PositiveInt

from tritguard.attack import Attack, Ball, Target
from tritguard.campaign.job import Done, Job, check_crafted, craft
from tritguard.campaign.orders import Crew
from tritguard.campaign.store import Store
from tritguard.predictor import Int8
from tritguard.progress import Progress
from tritguard.records import Record


class Throughput(Record):
    """How fast this run crafted. Queries and gradients of jobs reused from an earlier run are not counted.

    Attributes:
        jobs: the number of jobs, one per chunk of samples, attack and ball.
        reused: the number of jobs that an earlier run had done.
        refused: the number of jobs done again because what was kept of them could not be used; see `Store.refused`.
        seconds: the time taken by the clock.
    """

    workers: PositiveInt
    jobs: int
    reused: int
    refused: int = 0
    seconds: float
    queries: int
    gradients: int


Seen = Callable[[Job, Int8], None]
"""Called with each job and the candidates it gave, int8[n, *input_shape], as soon as they are known."""


def unseen(_job: Job, _x: Int8) -> None:
    """Look at no job's candidates."""


CHUNK = 50  # samples per job; the same on every machine, because a chunk's place decides its seed


@dataclass(frozen=True)
class Run:
    """One attack in one ball.

    Attributes:
        x: int8[n, *input_shape], the candidates.
        seconds: the time of all its jobs by the clock, summed; with workers, each job has one core.
        processor_seconds: the processor time of all its jobs, summed.
    """

    attack: Attack
    eps: int
    x: Int8
    queries: int
    gradients: int
    seconds: float
    processor_seconds: float


@dataclass(frozen=True)
class Assignment:
    """One attack in one ball on a target."""

    target: Target
    ball: Ball
    attack: Attack


def craft_all(
    target: Target,
    balls: Sequence[Ball],
    attacks: Sequence[Attack],
    store: Store,
    progress: Progress,
    crew: Crew | None = None,
    seen: Seen = unseen,
) -> tuple[tuple[Run, ...], Throughput]:
    """Run every attack in every ball, ball by ball; see `craft_each`."""
    assignments = [Assignment(target, ball, attack) for ball in balls for attack in attacks]
    return craft_each(assignments, store, progress, crew, seen)


def craft_each(
    assignments: Sequence[Assignment],
    store: Store,
    progress: Progress,
    crew: Crew | None = None,
    seen: Seen = unseen,
) -> tuple[tuple[Run, ...], Throughput]:
    """Carry out assignments, all at the same time as far as there are workers.

    Args:
        assignments: they give one run each, in this order.
        store: jobs that it holds already are not run; the others are stored as soon as they are done.
        progress: called with (jobs done, jobs in all).
        crew: carries them out if that saves time; otherwise they run one after the other on the targets themselves.
        seen: called with the candidates of each job, those from the store included.

    Returns:
        The run of each assignment, and how fast all of them were crafted.

    Raises:
        TritguardError: raised by an attack, or because of what one gave; see `check_crafted` and `seal`.
    """
    parts = [list(_chunks(one.target, one.attack, one.ball)) for one in assignments]
    jobs = [job for part in parts for job in part]
    start, refused = time.perf_counter(), store.refused
    done = {place: found for place, job in enumerate(jobs) if (found := store.load(job))}
    missing = [place for place in range(len(jobs)) if place not in done]
    reused = len(done)
    helpers = crew if crew is not None and crew.pays([jobs[place] for place in missing]) else None
    for place, outcome in done.items():
        seen(jobs[place], outcome.crafted.x)
    progress(len(done), len(jobs))
    for place, outcome in _outcomes([jobs[place] for place in missing], helpers):
        check_crafted(jobs[missing[place]], outcome.crafted.x)
        store.save(jobs[missing[place]], outcome)
        done[missing[place]] = outcome
        seen(jobs[missing[place]], outcome.crafted.x)
        progress(len(done), len(jobs))
    made = [done[place].crafted for place in missing]
    throughput = Throughput(
        workers=max(1, helpers.workers.count) if helpers else 1,
        jobs=len(jobs),
        reused=reused,
        refused=store.refused - refused,
        seconds=time.perf_counter() - start,
        queries=sum(crafted.queries for crafted in made),
        gradients=sum(crafted.gradients for crafted in made),
    )
    ends = np.cumsum([0, *map(len, parts)])
    runs = (_joined(jobs[start:end], [done[place] for place in range(start, end)]) for start, end in pairwise(ends))
    return tuple(runs), throughput


def _chunks(target: Target, attack: Attack, ball: Ball) -> Iterator[Job]:
    for first in range(0, len(target.x), CHUNK):
        rows = np.arange(first, min(first + CHUNK, len(target.x)))
        seed = int(np.random.SeedSequence((target.seed, first)).generate_state(1)[0])
        part = replace(target.part(rows), seed=seed)
        yield Job(attack, ball, part, first)


def _outcomes(jobs: Sequence[Job], crew: Crew | None) -> Iterator[tuple[int, Done]]:
    """Yield the place of each job with its outcome, in any order."""
    if crew is not None:
        return crew.run(jobs)
    return ((place, craft(job)) for place, job in enumerate(jobs))


def _joined(jobs: Sequence[Job], done: Sequence[Done]) -> Run:
    """Join the chunks of an assignment into one run."""
    return Run(
        attack=jobs[0].attack,
        eps=jobs[0].ball.eps,
        x=np.concatenate([part.crafted.x for part in done]),
        queries=sum(part.crafted.queries for part in done),
        gradients=sum(part.crafted.gradients for part in done),
        seconds=sum(part.seconds for part in done),
        processor_seconds=sum(part.processor_seconds for part in done),
    )
