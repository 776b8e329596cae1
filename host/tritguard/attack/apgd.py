"""Auto-PGD: projected gradient descent that chooses its own step sizes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.attack.arrays import column
from tritguard.attack.base import Attack, Ball, Best, Crafted, Kind, Labels, Queries, Target
from tritguard.attack.gradient import Float32, Gradients, Loss, Region
from tritguard.attack.rivals import told_apart

_MOMENTUM = 0.75
_RISE_SHARE = 0.75  # a step size is halved if a smaller share of its steps than this raised the loss


class Apgd(Attack):
    """APGD on one loss (Croce and Hein 2020, 2003.01690, algorithm 1), on the straight-through view.

    This is our own implementation because it asks the deployed model after each step, drops samples that are broken
    and rounds to the int8 grid. On a float network it is as strong as ART's, within noise.

    Threat model: white box, with one query of the deployed model per gradient.

    Args:
        loss: `ce`, `dlr` or `margin`, see `Gradients`; the gradient of `margin` does not vanish with large logits.
        steps: gradients per sample and restart.
        restarts: the number of random starts.
    """

    kind: Kind = "white box"
    follows = "gradients"

    def __init__(self, loss: Literal["ce", "dlr", "margin"] = "ce", steps: int = 100, restarts: int = 1) -> None:
        self.name = f"APGD-{loss.upper()}"
        self.loss: Loss = loss
        self.steps = steps
        self.restarts = restarts

    @property
    @override
    def parameters(self) -> dict[str, float | int | str]:
        return {
            "loss": self.loss,
            "steps": self.steps,
            "restarts": self.restarts,
            "momentum": _MOMENTUM,
            "implementation": "tritguard",
        }

    @property
    @override
    def starts(self) -> int:
        return self.restarts

    @override
    def craft(self, target: Target, ball: Ball) -> Crafted:
        rng = np.random.default_rng((target.seed, ball.eps))
        gradients, queries, best = Gradients(target, self.loss), Queries(target), Best(target)
        best.take(target.x, queries.margins(target.x))
        for restart in range(self.restarts):
            source = target if restart == 0 else replace(target, starts=None)
            ascend(source, ball, gradients, queries, best, steps=self.steps, rng=rng)
        return Crafted(best.x, queries.made, gradients.taken)


class ApgdTargeted(Attack):
    """APGD-T: APGD on the targeted DLR loss, towards the most likely wrong classes in turn (2003.01690, section 4).

    Threat model: white box, with one query of the deployed model per gradient.

    Args:
        steps: gradients per sample and target class.
        targets: the number of target classes, taken in order of their clean logits; all wrong ones if there are fewer.
    """

    name = "APGD-T"
    kind: Kind = "white box"
    follows = "gradients"

    def __init__(self, steps: int = 100, targets: int = 9) -> None:
        self.steps = steps
        self.targets = targets

    @property
    @override
    def parameters(self) -> dict[str, float | int | str]:
        return {
            "loss": "dlr targeted",
            "steps": self.steps,
            "targets": self.targets,
            "momentum": _MOMENTUM,
            "implementation": "tritguard",
        }

    @property
    @override
    def starts(self) -> int:
        return self.targets

    @override
    def craft(self, target: Target, ball: Ball) -> Crafted:
        rng = np.random.default_rng((target.seed, ball.eps))
        gradients, queries, best = Gradients(target, "dlr targeted"), Queries(target), Best(target)
        best.take(target.x, queries.margins(target.x))
        for aim in aims(target, self.targets):
            ascend(target, ball, gradients, queries, best, steps=self.steps, rng=rng, aim=aim)
        return Crafted(best.x, queries.made, gradients.taken)


def aims(target: Target, targets: int) -> list[Labels]:
    """The most likely wrong classes of each sample, int64[n] each, the likeliest first; or the one that is wanted."""
    if target.aim is not None:
        return [target.aim]
    assert target.view is not None
    logits = np.array(target.view.logits(target.x.astype(np.float32)))
    logits = told_apart(logits, target.y, target.rivals)
    logits[np.arange(len(logits)), target.y] = -np.inf
    return list(np.argsort(-logits, axis=1)[:, : min(targets, logits.shape[1] - 1)].T)


def ascend(
    target: Target,
    ball: Ball,
    gradients: Gradients,
    queries: Queries,
    best: Best,
    *,
    steps: int,
    rng: np.random.Generator,
    aim: Labels | None = None,
) -> None:
    """Run one ascent for all samples that still hold, and put what it finds into `best`.

    It starts at `Target.starts`, and at random for samples for which that holds the clean input. Where moves lie in one
    place, as patches do, the first gradient, which counts as a step, chooses the place of a random start.
    """
    active = np.flatnonzero(best.margins > 0)
    if active.size == 0:
        return
    region = Region(ball, target.x[active].astype(np.float32))
    aims = None if aim is None else aim[active]
    if ball.geometry.placed and steps > 1:
        start, steps = region.start_at(rng, gradients(region.clean, active, aims)[1]), steps - 1
    else:
        start = region.start(rng)
    if target.starts is not None:
        given = target.starts[active].astype(np.float32)
        elsewhere = (given != region.clean).reshape(len(given), -1).any(axis=1)
        start = np.where(column(elsewhere, start), region.project(given), start)
    state = _Ascent(start, *gradients(start, active, aims), ball.geometry.first_step(ball.eps), _checkpoints(steps))
    for step in range(steps):
        on_grid = ball.to_grid(state.move(step, region), target.x[active])
        best.take(on_grid, queries.margins(on_grid, active), active)
        holds = best.margins[active] > 0
        if not holds.any():
            return
        active, region = active[holds], region.keep(holds)
        state.keep(holds)
        if step + 1 < steps:
            state.judge(step, *gradients(state.x, active, None if aim is None else aim[active]))


def _checkpoints(steps: int) -> list[int]:
    """The steps after which step sizes are reviewed: first after 22 % of all, then at intervals that shrink to 6 %."""
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return [math.ceil(share * steps) for share in shares if share <= 1]


class _Ascent:
    """The state of algorithm 1, one row per sample."""

    def __init__(self, x: Float32, loss: Float32, gradient: Float32, step: float, checkpoints: list[int]) -> None:
        rows = len(x)
        self.x, self.before, self.gradient = x, x.copy(), gradient
        self.best_x, self.best_gradient, self.best_loss = x.copy(), gradient.copy(), loss.copy()
        self.loss = loss
        self.step = np.full(rows, step, np.float32)
        self.rises = np.zeros(rows, np.int64)
        self.halved = np.zeros(rows, bool)  # at the last checkpoint
        self.loss_at_checkpoint = loss.copy()
        self.checkpoints = checkpoints

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Drop the samples that are done."""
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                setattr(self, name, value[rows])

    def move(self, step: int, region: Region) -> Float32:
        """The next iterates: a gradient step, with momentum from the second step on."""
        stepped = region.project(self.x + column(self.step, self.x) * region.direction(self.gradient))
        share = 1.0 if step == 0 else _MOMENTUM
        moved = region.project(self.x + share * (stepped - self.x) + (1 - share) * (self.x - self.before))
        self.before, self.x = self.x, moved
        return moved

    def judge(self, step: int, loss: Float32, gradient: Float32) -> None:
        """Record the new losses; at a checkpoint, halve step sizes that no longer help and return to the best point."""
        self.rises += loss > self.loss
        self.loss, self.gradient = loss, gradient
        better = loss > self.best_loss
        self.best_x[better], self.best_gradient[better] = self.x[better], gradient[better]
        self.best_loss = np.maximum(loss, self.best_loss)
        if step + 1 not in self.checkpoints:
            return
        length = step + 1 - max((point for point in self.checkpoints if point <= step), default=0)
        few = self.rises < _RISE_SHARE * length
        stuck = ~self.halved & (self.best_loss <= self.loss_at_checkpoint)
        self.halved = few | stuck
        self.step[self.halved] /= 2
        self.x[self.halved], self.gradient[self.halved] = self.best_x[self.halved], self.best_gradient[self.halved]
        self.before[self.halved] = self.x[self.halved]
        self.loss = np.where(self.halved, self.best_loss, self.loss)
        self.rises[:] = 0
        self.loss_at_checkpoint = self.best_loss.copy()
