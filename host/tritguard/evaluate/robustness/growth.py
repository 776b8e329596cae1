"""More queries for a black box that breaks more than gradients do, until it has stopped gaining.

Where gradients mislead, the black box alone says what is left of a model, and it says so only once a larger budget
would not change its answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from tritguard.attack import Asking, Ball, Target
from tritguard.campaign.orders import Crew
from tritguard.campaign.runs import Assignment, Run, craft_each
from tritguard.campaign.store import Store
from tritguard.evaluate.robustness.figures import Growth
from tritguard.evaluate.robustness.seeds import seeded
from tritguard.evaluate.robustness.significance import LEVEL, mcnemar
from tritguard.evaluate.robustness.table import Flags
from tritguard.progress import Progress

GAIN = 0.02  # share of all samples; a doubled budget that breaks no more has stopped gaining
_DOUBLINGS = 5  # the most that a budget is doubled


def holding(target: Target, runs: Sequence[Run]) -> Flags:
    """Find the samples that the twin classifies correctly, clean and after these runs: bool[n]."""
    holds = target.predictor.predict(target.x).labels == target.y
    for run in runs:
        holds &= ~target.broken(target.predictor.predict(run.x).labels)
    return np.asarray(holds)


def grow(
    target: Target,
    balls: Sequence[Ball],
    runs: Sequence[Run],
    store: Store,
    progress: Progress,
    crew: Crew | None,
) -> tuple[tuple[Run, ...], tuple[Growth, ...]]:
    """Give every black box that breaks more than gradients do in a ball twice its queries, again and again.

    Only samples that hold are attacked again. A budget grows until a doubling breaks at most another 2 % of all
    samples, until nothing holds, or up to 32 times what the plan gave.

    Args:
        target: the attacked model.
        balls: all balls that it was attacked in.
        runs: what all attacks found there.
        store: keeps what is found.
        progress: called with (budgets grown, budgets to grow).
        crew: see `craft_each`.

    Returns:
        The runs, in which those of grown black boxes hold what they found with all their queries; and how they grew.
    """
    everywhere, grown = list(runs), []
    places = _ahead(target, runs)
    for done, place in enumerate(places):
        progress(done, len(places))
        ball = next(ball for ball in balls if ball.eps == runs[place].eps)
        everywhere[place], growth = _grown(target, ball, everywhere, place, store, crew)
        grown.append(growth)
    progress(len(places), len(places))
    return tuple(everywhere), tuple(grown)


def _ahead(target: Target, runs: Sequence[Run]) -> list[int]:
    """Find the black boxes that break significantly more than the best gradient attack at the same bound."""
    held = [holding(target, [run]) for run in runs]
    pairs = []
    for place, run in enumerate(runs):
        led = [held[other] for other, one in enumerate(runs) if one.eps == run.eps and _by_gradients(one)]
        if isinstance(run.attack, Asking) and run.attack.kind == "black box" and led:
            pairs.append((place, min(led, key=np.count_nonzero)))
    return [
        place
        for place, best in pairs
        if mcnemar(int((best & ~held[place]).sum()), int((held[place] & ~best).sum())) <= LEVEL / len(pairs)
    ]


def _by_gradients(run: Run) -> bool:
    return run.attack.kind == "white box" and run.attack.follows in ("one gradient", "gradients")


@dataclass
class _Budget:
    """A black box while it grows."""

    attack: Asking
    queries: list[int]
    broken: list[int]
    settled: bool = False

    def doubled(self) -> Asking:
        attack = copy(self.attack)
        attack.queries = 2 * attack.queries
        return attack


def _grown(
    target: Target, ball: Ball, runs: Sequence[Run], place: int, store: Store, crew: Crew | None
) -> tuple[Run, Growth]:
    run = runs[place]
    assert isinstance(run.attack, Asking)
    budget = _Budget(run.attack, [run.attack.queries], [])
    others = [other for other in runs if other.eps <= ball.eps and other is not run]
    known = seeded(target, ball, [(other, holding(target, [other])) for other in runs if other is not run])
    while not budget.settled and len(budget.broken) < _DOUBLINGS:
        chosen = np.flatnonzero(holding(target, [*others, run]))
        if chosen.size == 0:
            budget.settled = True
            break
        attack, part = budget.doubled(), known.part(chosen)
        (found,), _ = craft_each([Assignment(part, ball, attack)], store, lambda _done, _jobs: None, crew)
        fell = part.broken(target.predictor.predict(found.x).labels)
        run = _merged(run, found, attack, chosen[fell], found.x[fell])
        budget.attack = attack
        budget.queries.append(attack.queries)
        budget.broken.append(int(fell.sum()))
        budget.settled = int(fell.sum()) <= GAIN * len(target.x)
    return run, Growth(
        attack=run.attack.name,
        eps_steps=ball.eps,
        queries=tuple(budget.queries),
        broken=tuple(budget.broken),
        settled=budget.settled,
    )


def _merged(run: Run, found: Run, attack: Asking, samples: np.ndarray, x: np.ndarray) -> Run:
    """Put what broke further samples into the run, which has then made the queries of both."""
    both = run.x.copy()
    both[samples] = x
    return replace(
        run,
        attack=attack,
        x=both,
        queries=run.queries + found.queries,
        seconds=run.seconds + found.seconds,
        processor_seconds=run.processor_seconds + found.processor_seconds,
    )
