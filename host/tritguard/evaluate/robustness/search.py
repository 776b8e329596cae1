"""The search for adversarial inputs: the plan's attacks, twice the steps on what held, an undefended control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.attack import Attack, Ball, Crafted, Target
from tritguard.attack.base import Best, Kind, Labels, Queries
from tritguard.evaluate.crafting.runs import Run, Throughput, craft_all
from tritguard.evaluate.crafting.store import Store
from tritguard.evaluate.crafting.workers import Crew
from tritguard.evaluate.robustness.figures import Control, Doubling
from tritguard.evaluate.robustness.grids import Regrid
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.table import ControlSamples, to_bits
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
        regrid: for a control, how its input grid lies to the attacked model's.
    """

    name: str
    sha256: str
    target: Target
    store: Store
    crew: Crew | None = None
    regrid: Regrid = field(default_factory=Regrid)


@dataclass(frozen=True)
class Found:
    """What the search found.

    Attributes:
        runs: every attack at every bound, and the inputs that carried over from the control.
        again: the candidates of the doubled attack; the clean input for samples that it was not run on.
        doubling: what the doubled attack broke.
        control: how the control fared.
        throughput: how fast the attacks ran.
        live: whether every query was an inference on the device.
        control_labels: int64[n], the control's answers to the clean inputs, if there is a control.
    """

    runs: tuple[Run, ...]
    again: Run | None
    doubling: Doubling | None
    control: Control | None
    throughput: Throughput
    live: bool = False
    control_labels: Labels | None = None


def search(model: Victim, plan: Plan, control: Victim | None, stages: Stages) -> Found:
    """Attack the model, and an undefended one of the same task if there is one.

    Args:
        model: the model.
        plan: bounds and attacks.
        control: the undefended model, with the same samples on its own input grid.
        stages: gives the callback that shows a stage's progress.

    Raises:
        BadInputError: see `Regrid.to_control`.
    """
    theirs = None if control is None else control.regrid.to_control(Ball(plan.norm, plan.eps[-1]))
    suite = plan.suite(classes(model.target))
    runs, throughput = craft_all(
        model.target, plan.balls, suite, model.store, stages("Crafting on the twin"), model.crew
    )
    checked = labels = None
    if control is not None and theirs is not None:
        checked, labels, lent = _attack_control(control, theirs, model, plan, suite, stages("Attacking the control"))
        runs = (*runs, lent)
    again, doubling = _attack_again(model, plan, runs, stages("Twice the steps"))
    refused = model.store.refused + (0 if control is None else control.store.refused)
    throughput = throughput.model_copy(update={"refused": refused})
    return Found(runs, again, doubling, checked, throughput, control_labels=labels)


def classes(target: Target) -> int:
    """Count the classes of the model."""
    return int(target.predictor.predict(target.x[:1]).scores.shape[1])


def holding(target: Target, runs: Sequence[Run]) -> NDArray[np.bool_]:
    """Find the samples that the twin classifies correctly, clean and after these runs: bool[n]."""
    holds = target.predictor.predict(target.x).labels == target.y
    for run in runs:
        holds &= ~target.broken(target.predictor.predict(run.x).labels)
    return np.asarray(holds)


def _attack_again(
    model: Victim, plan: Plan, runs: Sequence[Run], progress: Progress
) -> tuple[Run | None, Doubling | None]:
    attack, target, ball = plan.doubled(), model.target, Ball(plan.norm, plan.eps[-1])
    if attack is None:
        return None, None
    steps = int(attack.parameters["steps"])
    chosen = np.flatnonzero(holding(target, [run for run in runs if run.eps <= ball.eps]))
    if len(chosen) == 0:
        return None, Doubling(attack=attack.name, steps=steps, tried=0, broken=0)
    part = target.part(chosen)
    (found,), _ = craft_all(part, [ball], [attack], model.store, progress, model.crew)
    broken = int(part.broken(target.predictor.predict(found.x).labels).sum())
    x = target.x.copy()
    x[chosen] = found.x
    return replace(found, x=x), Doubling(attack=attack.name, steps=steps, tried=len(chosen), broken=broken)


def _attack_control(
    control: Victim, ball: Ball, model: Victim, plan: Plan, suite: Sequence[Attack], progress: Progress
) -> tuple[Control, Labels, Run]:
    """Run the same attacks on the control, in the same ball in its own steps, and try what they find on the model."""
    target = control.target
    runs, _ = craft_all(target, [ball], suite, control.store, progress, control.crew)
    holds = holding(target, runs)
    labels = target.predictor.predict(target.x).labels
    right = labels == target.y
    record = Control(
        name=control.name,
        model_sha256=control.sha256,
        eps_steps=ball.eps,
        clean=Rate.of(int(right.sum()), len(right)),
        robust=Rate.of(int(holds.sum()), len(holds)),
        samples=ControlSamples(right=to_bits(right), held=to_bits(holds)),
    )
    return record, labels, _transfer(control, model.target, Ball(plan.norm, plan.eps[-1]), runs)


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
