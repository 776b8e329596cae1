"""The search for adversarial inputs: the plan's attacks, twice the steps on what held, an undefended control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from typing_extensions import override

from tritguard.attack import Attack, Ball, Crafted, Target
from tritguard.attack.base import Best, Kind, Labels, Limits, Queries
from tritguard.campaign.orders import Crew
from tritguard.campaign.runs import Assignment, Run, Seen, Throughput, craft_all, craft_each, unseen
from tritguard.campaign.store import Store
from tritguard.evaluate.limits import WHOLE
from tritguard.evaluate.robustness.figures import Control, Doubling, Fidelity, Growth
from tritguard.evaluate.robustness.grids import Regrid
from tritguard.evaluate.robustness.growth import grow, holding
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.proofs import UNBROKEN, prove
from tritguard.evaluate.robustness.repairs import judge, look, repair
from tritguard.evaluate.robustness.seeds import seeded
from tritguard.evaluate.robustness.table import Bits, ControlSamples, Flags, to_bits
from tritguard.evaluate.study import Rate
from tritguard.progress import Progress, Stages


@dataclass(frozen=True)
class Victim:
    """A model under attack.

    Attributes:
        name: what reports call it.
        sha256: hash of the golden model.
        target: its twin, its view and its samples.
        store: keeps what is found.
        crew: the processes that craft; without it crafting runs in this process.
        regrid: for a control, how its input grid relates to the attacked model's.
        limits: the steps of its own grid that the data can have.
    """

    name: str
    sha256: str
    target: Target
    store: Store
    crew: Crew | None = None
    regrid: Regrid = field(default_factory=Regrid)
    limits: Limits = WHOLE


@dataclass(frozen=True)
class Found:
    """What the search found.

    Attributes:
        runs: every attack at every bound, and the inputs that carried over from the control.
        again: the candidates of the doubled attack at each eps at which samples held; the clean input for the others.
        doublings: what the doubled attack broke at each eps; empty if the plan has no attack with steps to double.
        growths: the black boxes that broke more than gradients, with the queries that they were given.
        control: how the control fared.
        throughput: how fast the attacks ran.
        live: whether every query was an inference on the device.
        control_labels: int64[n], the control's answers to the clean inputs, if there is a control.
        fidelity: what gradients are worth on the samples that hold at each eps.
    """

    runs: tuple[Run, ...]
    again: tuple[Run, ...]
    doublings: tuple[Doubling, ...]
    control: Control | None
    throughput: Throughput
    growths: tuple[Growth, ...] = ()
    live: bool = False
    control_labels: Labels | None = None
    fidelity: tuple[Fidelity, ...] = ()


def search(model: Victim, plan: Plan, control: Victim | None, stages: Stages, seen: Seen = unseen) -> Found:
    """Attack the model, and an undefended one of the same task if there is one.

    Args:
        model: the model.
        plan: bounds and attacks.
        control: the undefended model, with the same samples on its own input grid.
        stages: gives the callback that shows a stage's progress.
        seen: shown what the attacks on the model find, job by job.

    Raises:
        BadInputError: see `Regrid.to_control`.
    """
    balls = [ball.within(model.limits) for ball in plan.balls]
    named = [ball for ball in balls if ball.eps in plan.eps]
    theirs = None if control is None else control.regrid.to_control(named[-1]).within(control.limits)
    suite = plan.suite(classes(model.target))
    crafting = stages("Crafting on the twin")
    runs, throughput = craft_all(model.target, balls, suite, model.store, crafting, model.crew, seen)
    checked = labels = None
    if control is not None and theirs is not None:
        checked, labels, lent = _attack_control(
            control, theirs, model, named, plan, suite, stages("Attacking the control")
        )
        runs = (*runs, *lent)
    measured = look(model.target, balls, runs)
    repaired, gained = repair(model.target, runs, measured, model.store, stages("Repairing gradients"), model.crew)
    runs = (*runs, *repaired)
    # More queries come after repairs, because they cost more, and samples that repairs break need none.
    runs, growths = grow(model.target, balls, runs, model.store, stages("More queries"), model.crew)
    again, doublings = _attack_again(model, named, plan, runs, stages("Twice the steps"))
    fidelity = judge(model.target, measured, (*runs, *again), gained)
    refused = model.store.refused + (0 if control is None else control.store.refused)
    throughput = throughput.model_copy(update={"refused": refused})
    return Found(runs, again, doublings, checked, throughput, growths, control_labels=labels, fidelity=fidelity)


def classes(target: Target) -> int:
    """Count the classes of the model."""
    return int(target.predictor.predict(target.x[:1]).scores.shape[1])


def _attack_again(
    model: Victim, balls: Sequence[Ball], plan: Plan, runs: Sequence[Run], progress: Progress
) -> tuple[tuple[Run, ...], tuple[Doubling, ...]]:
    """Give the samples that hold at each eps twice the steps."""
    attack, target = plan.doubled(), model.target
    if attack is None:
        return (), ()
    steps = int(attack.parameters["steps"])
    found = [(run, holding(target, [run])) for run in runs]
    held = [
        np.flatnonzero(np.logical_and.reduce([holds for run, holds in found if run.eps <= ball.eps])) for ball in balls
    ]
    tried = [place for place, chosen in enumerate(held) if len(chosen)]
    assignments = [
        Assignment(seeded(target, balls[place], found).part(held[place]), balls[place], attack) for place in tried
    ]
    again_found, _ = craft_each(assignments, model.store, progress, model.crew)
    broken, again = [0] * len(balls), []
    for place, run, one in zip(tried, again_found, assignments, strict=True):
        broken[place] = int(one.target.broken(target.predictor.predict(run.x).labels).sum())
        x = target.x.copy()
        x[held[place]] = run.x
        again.append(replace(run, x=x))
    return tuple(again), tuple(
        Doubling(attack=attack.name, eps_steps=ball.eps, steps=steps, tried=len(chosen), broken=fell)
        for ball, chosen, fell in zip(balls, held, broken, strict=True)
    )


def _attack_control(
    control: Victim,
    ball: Ball,
    model: Victim,
    balls: Sequence[Ball],
    plan: Plan,
    suite: Sequence[Attack],
    progress: Progress,
) -> tuple[Control, Labels, tuple[Run, ...]]:
    """Run the same attacks on the control, in the same ball in its own steps, and try what they find on the model.

    In the smaller balls an iterated attack alone looks for what carries over, or all attacks if the plan has none.
    """
    target, iterated = control.target, plan.iterated()
    smaller = [(aimed, attack) for aimed in balls[:-1] for attack in (suite if iterated is None else (iterated,))]
    assignments = [Assignment(target, ball, attack) for attack in suite]
    assignments += [
        Assignment(target, control.regrid.nearest(aimed).within(control.limits), attack) for aimed, attack in smaller
    ]
    found, _ = craft_each(assignments, control.store, progress, control.crew)
    runs = found[: len(suite)]
    holds = holding(target, runs)
    labels = target.predictor.predict(target.x).labels
    right = labels == target.y
    record = Control(
        name=control.name,
        model_sha256=control.sha256,
        eps_steps=ball.eps,
        clean=Rate.of(int(right.sum()), len(right)),
        robust=Rate.of(int(holds.sum()), len(holds)),
        samples=ControlSamples(right=to_bits(right), held=to_bits(holds), proved=_proved(target, ball, holds)),
    )
    lent = [
        _transfer(
            control,
            model.target,
            aimed,
            [run for run, (at, _) in zip(found[len(suite) :], smaller, strict=True) if at == aimed],
        )
        for aimed in balls[:-1]
    ]
    return record, labels, (*lent, _transfer(control, model.target, balls[-1], runs))


def _proved(target: Target, ball: Ball, holds: Flags) -> Bits | None:
    """Prove the samples of a control that hold, if many do."""
    return prove(target, ball, holds) if Rate.of(int(holds.sum()), len(holds)).low > UNBROKEN else None


class Transferred(Attack):
    """Inputs crafted on another model, the oldest black-box attack (Papernot et al. 2016, 1605.07277)."""

    name = "Transfer"
    kind: Kind = "transfer"

    def __init__(self, source: str, sha256: str) -> None:
        self._source, self._sha256 = source, sha256

    @property
    @override
    def parameters(self) -> dict[str, float | int | str]:
        return {"from": self._source, "model_sha256": self._sha256}

    @override
    def craft(self, target: Target, ball: Ball) -> Crafted:
        """Give back the clean inputs: the candidates come from elsewhere."""
        return Crafted(target.x, queries=0, gradients=0)


def _transfer(control: Victim, target: Target, ball: Ball, runs: Sequence[Run]) -> Run:
    """Put all that was crafted on the control on the target's grid, and keep for each sample the best of it."""
    queries, best = Queries(target), Best(target)
    for run in runs:
        x = ball.to_grid(control.regrid.to_model(run.x), target.x)
        best.take(x, queries.margins(x))
    attack = Transferred(control.name, control.sha256)
    return Run(attack, ball.eps, best.x, queries.made, gradients=0, seconds=0.0, processor_seconds=0.0)
