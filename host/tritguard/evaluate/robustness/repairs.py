"""Attacks along repaired gradients, on the samples that hold, where gradients do not lead as they promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tritguard.attack import Ball, Target
from tritguard.attack.repaired import Repaired, front_of, repaired_views
from tritguard.attack.view import GradientView
from tritguard.campaign.orders import Crew
from tritguard.campaign.runs import Assignment, Run, craft_each
from tritguard.campaign.store import Store
from tritguard.evaluate.robustness.fidelity import Fidelities, agreement, measure
from tritguard.evaluate.robustness.figures import Fidelity
from tritguard.evaluate.robustness.growth import GAIN, holding
from tritguard.evaluate.robustness.seeds import seeded
from tritguard.evaluate.robustness.table import Flags
from tritguard.predictor import Int8
from tritguard.progress import Progress

_ASTRAY, _ROUGH = 0.1, 0.2  # shares of the samples that hold whose gradients have to fail before they are repaired
_BETTER = 0.08  # by how much the agreement of a repaired view has to be above that of the network's own
_ENOUGH = 5  # the least number of samples that agreement is averaged over
_AROUND = 16  # samples around which views are smoothed
_STEPS = 40


@dataclass(frozen=True)
class Held:
    """The samples that hold in a ball.

    Attributes:
        places: int64[m], their positions among all samples.
        attacked: int8[m, *input_shape], what an attack that follows gradients made of them.
        found: how their gradients fare.
        outdone: whether the gradients of a repaired view agree better with what the network does.
    """

    ball: Ball
    places: np.ndarray
    attacked: Int8
    found: Fidelities
    outdone: bool = False

    @property
    def fails(self) -> bool:
        """Whether so many gradients fail, or all of them so far, that they are worth repairing."""
        n, found = len(self.places), self.found
        many = bool(found.astray.sum() > _ASTRAY * n or found.rough.sum() > _ROUGH * n)
        return many or (self.outdone and n > 0)


def look(target: Target, balls: Sequence[Ball], runs: Sequence[Run]) -> list[Held]:
    """Measure the gradients of the samples that hold in each ball, after what was found there and in smaller ones.

    An attacker who takes no gradients has none that could mislead.
    """
    if not isinstance(target.view, GradientView) or not any(run.attack.kind == "white box" for run in runs):
        return []
    found = []
    flags = [(run, holding(target, [run])) for run in runs]
    for ball in balls:
        places = np.flatnonzero(_held(target, ball, flags))
        led = [run for run, _ in flags if run.eps == ball.eps and run.attack.kind == "white box"]
        attacked = (led[-1].x if led else target.x)[places]
        found.append(Held(ball, places, attacked, measure(target.part(places), ball, attacked)))
    outdone = _outdone(target, found[:-1])
    return [replace(held, outdone=outdone) for held in found]


def _outdone(target: Target, found: Sequence[Held]) -> bool:
    """Whether a repaired view predicts the network better, in the largest ball in which enough samples hold.

    A branch as strong as the network itself leads gradients not astray, but aside, so that few of them fail.
    """
    enough = [held for held in found if len(held.places) >= _ENOUGH]
    if not enough:
        return False
    held = enough[-1]
    part = target.part(held.places[:_AROUND])
    view = repaired_views(part, part.x, held.ball)[0]
    return agreement(replace(part, view=view), held.ball) > agreement(part, held.ball) + _BETTER


def _held(target: Target, ball: Ball, flags: Sequence[tuple[Run, Flags]]) -> Flags:
    held = holding(target, [])
    for run, holds in flags:
        if run.eps <= ball.eps:
            held &= holds
    return held


def repair(
    target: Target,
    runs: Sequence[Run],
    before: Sequence[Held],
    store: Store,
    progress: Progress,
    crew: Crew | None,
) -> tuple[tuple[Run, ...], dict[int, int]]:
    """Attack what holds, where gradients fail and at the largest bound of the threat model, along repaired gradients.

    Gradients may be right wherever attacks go, while attacks do not go where the network is weak. What breaks samples
    at the largest bound is where searches in smaller balls begin. These attacks are made for Lp balls and are not tried
    in others.

    Args:
        target: the attacked model.
        runs: all that was found so far.
        before: what `look` measured in each ball, the sanity bound last.
        store: keeps what is found.
        progress: see `craft_each`.
        crew: the processes that craft.

    Returns:
        A run for each ball in which something was attacked, with the clean input for samples that were not; and by eps,
        how many more samples twice the steps broke, where the first run broke more than 2 % of all samples.
    """
    largest = before[-2] if len(before) > 1 else None
    failing = [
        held
        for held in before
        if held.ball.geometry.order is not None
        and (held.fails or (len(held.places) and (held is largest or front_of(target))))
    ]
    flags = [(run, holding(target, [run])) for run in runs] if failing else []
    assignments = [
        Assignment(
            seeded(target, held.ball, flags).part(held.places), held.ball, Repaired(_around(target, held), _STEPS)
        )
        for held in failing
    ]
    if not assignments:
        return (), {}
    found, _ = craft_each(assignments, store, progress, crew)
    repaired = [_whole(target, held, run) for held, run in zip(failing, found, strict=True)]
    gained = {}
    for place, (held, run) in enumerate(zip(failing, repaired, strict=True)):
        holds = holding(target, [run])
        left = held.places[holds[held.places]]
        if len(left) and len(held.places) - len(left) > GAIN * len(target.x):
            part = seeded(target, held.ball, [*flags, (run, holds)]).part(left)
            twice = Assignment(part, held.ball, Repaired(_around(target, held), 2 * _STEPS))
            (more,), _ = craft_each([twice], store, lambda _done, _jobs: None, crew)
            fell = part.broken(target.predictor.predict(more.x).labels)
            repaired[place] = _joined(run, more, left[fell], more.x[fell])
            gained[run.eps] = int(fell.sum())
    return tuple(repaired), gained


def _joined(run: Run, more: Run, places: np.ndarray, x: Int8) -> Run:
    """Put what broke further samples into the run, which has taken the queries and gradients of both."""
    both = run.x.copy()
    both[places] = x
    return replace(
        run,
        attack=more.attack,
        x=both,
        queries=run.queries + more.queries,
        gradients=run.gradients + more.gradients,
        seconds=run.seconds + more.seconds,
        processor_seconds=run.processor_seconds + more.processor_seconds,
    )


def _around(target: Target, held: Held) -> Int8:
    return np.asarray(target.x[held.places[:_AROUND]])


def _whole(target: Target, held: Held, run: Run) -> Run:
    x = target.x.copy()
    x[held.places] = run.x
    return replace(run, x=x)


def judge(
    target: Target, before: Sequence[Held], runs: Sequence[Run], gained: Mapping[int, int]
) -> tuple[Fidelity, ...]:
    """Say what the gradients of the samples that hold in the end are worth, where they were repaired and elsewhere.

    Args:
        target: the attacked model.
        before: what was measured before repairs.
        runs: all that was found, with the repairs and twice the steps.
        gained: by eps, what twice the steps along repaired gradients broke.
    """
    flags = [(run, holding(target, [run])) for run in runs]
    figures = []
    for held in before:
        left = _held(target, held.ball, flags)[held.places]
        lost = held.found.astray & left
        tried = held.ball.geometry.order is not None  # no repaired view excuses what no attack followed
        if tried and lost.any():
            rest, part = np.flatnonzero(lost), target.part(held.places[lost])
            for view in repaired_views(target, _around(target, held), held.ball):
                again = measure(replace(part, view=view), held.ball, held.attacked[rest])
                lost[rest] &= again.astray
        figures.append(
            Fidelity(
                eps_steps=held.ball.eps,
                held=len(held.places),
                astray=int(held.found.astray.sum()),
                rough=int(held.found.rough.sum()),
                repaired=tried and held.fails,
                failed=held.fails,
                left=int(left.sum()),
                lost=int(lost.sum()),
                gained=gained.get(held.ball.eps, 0),
            )
        )
    return tuple(figures)
