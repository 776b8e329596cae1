"""What an attack is given and what it returns. An attack is one small class in one file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tritguard.predictor import Int8, Outputs, Predictor

if TYPE_CHECKING:
    from tritguard.attack.view import DifferentiableView

Kind = Literal["white box", "black box", "transfer", "baseline"]
Norm = Literal["Linf", "L2"]
Goal = Literal["untargeted", "targeted"]
Access = Literal["logits", "scores", "labels"]  # what of its outputs the device reveals
Samples = NDArray[np.int64]
INT8_MIN, INT8_MAX = -128, 127
_GOLDEN = (5**0.5 - 1) / 2  # its multiples, modulo one, are spread evenly
_TIES = 1e-3  # of a step: losses that close count as equal


@dataclass(frozen=True)
class Ball:
    """The inputs an attacker may use for a clean one: on the int8 grid, at a distance of at most eps.

    Attributes:
        norm: `Linf` or `L2`.
        eps: in steps of the int8 input grid; for L2 the root of the sum of squared steps.
    """

    norm: Norm
    eps: int

    def distances(self, x: Int8, clean: Int8) -> NDArray[np.float64]:
        """float64[n]: how far each input is from its clean one, in steps."""
        moved = (x.astype(np.float64) - clean).reshape(len(x), -1)
        return np.asarray(np.abs(moved).max(axis=1) if self.norm == "Linf" else np.sqrt((moved**2).sum(axis=1)))

    def to_grid(self, candidates: NDArray[np.floating], clean: Int8) -> Int8:
        """Float candidates [n, *input_shape], in steps, to inputs on the grid and in the ball.

        Linf: to the nearest. L2: too, unless that lies outside of the ball or closer to the clean input than the
        candidate; then to one that is as far from it as the candidate, or as the ball is wide. Most elements of a
        spread-out move are less than half a step: nearest to them is the clean input.
        """
        wide = clean.astype(np.float64)
        if self.norm == "Linf":
            low, high = np.maximum(wide - self.eps, INT8_MIN), np.minimum(wide + self.eps, INT8_MAX)
            return np.asarray(np.clip(np.rint(candidates), low, high), np.int8)
        moved = np.clip(candidates, INT8_MIN, INT8_MAX) - wide
        length = np.sqrt((moved.reshape(len(moved), -1) ** 2).sum(axis=1)).reshape(-1, *[1] * (moved.ndim - 1))
        moved *= np.minimum(1, self.eps / np.maximum(length, 1e-9))
        steps = _whole_steps(moved.reshape(len(moved), -1), self.eps)
        return np.asarray(wide + steps.reshape(wide.shape), np.int8)


@dataclass(frozen=True)
class Target:
    """The attacked model and the samples.

    Attributes:
        predictor: the deployed model, here the twin; a board works as well.
        view: its differentiable view; white-box attacks need it.
        x: int8[n, *input_shape], clean inputs.
        y: int64[n], true labels.
        seed: of everything random.
        aim: int64[n], the labels a targeted attack wants; None where any wrong one will do.
        access: what black-box attacks are shown of the outputs.
    """

    predictor: Predictor
    view: DifferentiableView | None
    x: Int8
    y: Samples
    seed: int
    aim: Samples | None = None
    access: Access = "logits"

    def broken(self, labels: Samples) -> NDArray[np.bool_]:
        """bool[n]: where the attacker has what it wants."""
        return np.asarray(labels != self.y if self.aim is None else labels == self.aim)

    def part(self, samples: Samples) -> Target:
        """The same model and these samples alone, int64[m] of their places."""
        aim = None if self.aim is None else self.aim[samples]
        return replace(self, x=self.x[samples], y=self.y[samples], aim=aim)

    def margins(self, outputs: Outputs, samples: Samples | None = None) -> NDArray[np.float64]:
        """float64[n]: how far the attacker is from its goal, positive exactly where it is not reached.

        Untargeted, the true class' logit minus the best other's; targeted, the best other's minus the wanted one's.

        Args:
            outputs: of inputs crafted for these samples.
            samples: their places in `x`; all, in order, without it.
        """
        chosen = np.arange(len(self.y)) if samples is None else samples
        if self.aim is None:
            return margins(outputs, self.y[chosen], self.access)
        return -margins(outputs, self.aim[chosen], self.access)


class Queries:
    """The target as a black box: shows what the threat model allows, and counts.

    Attributes:
        made: forward passes so far.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self.made = 0

    def margins(self, x: Int8, samples: Samples | None = None) -> NDArray[np.float64]:
        """See `Target.margins`; where only labels are revealed, 1 or -1."""
        self.made += len(x)
        return self._target.margins(self._target.predictor.predict(x), samples)


@dataclass(frozen=True)
class Crafted:
    """Adversarial candidates.

    Attributes:
        x: int8[n, *input_shape], each in the ball around its clean input.
        queries: forward passes of the deployed model, all samples together.
        gradients: gradients taken from the view, all samples together.
    """

    x: Int8
    queries: int
    gradients: int


class Attack(Protocol):
    """Searches, in a ball around each sample, for an input on which the deployed model does what the attacker wants."""

    name: str
    kind: Kind

    @property
    def parameters(self) -> dict[str, float | int | str]:
        """Everything that, with target and ball, determines the outcome."""
        ...

    def craft(self, target: Target, ball: Ball) -> Crafted:
        """Craft one candidate a sample."""
        ...


@runtime_checkable
class Asking(Attack, Protocol):
    """An attack that needs nothing but answers: it can run on a device.

    Attributes:
        queries: the most forward passes a sample.
    """

    queries: int


class Best:
    """The candidates that got the deployed model furthest so far.

    Attributes:
        x: int8[n, *input_shape].
        margins: float64[n], see `Target.margins`.
    """

    def __init__(self, target: Target) -> None:
        self.x = target.x.copy()
        self.margins = np.full(len(target.x), np.inf)

    def take(self, x: Int8, margins: NDArray[np.float64], samples: Samples | None = None) -> None:
        """Keep what is better, of candidates for these samples (all without them)."""
        chosen = np.arange(len(self.x)) if samples is None else samples
        better = margins < self.margins[chosen]
        self.x[chosen[better]] = x[better]
        self.margins[chosen[better]] = margins[better]


def margins(outputs: Outputs, y: Samples, access: Access = "logits") -> NDArray[np.float64]:
    """float64[n]: logit of class y minus the best other's; on int8 scores where logits are not there or not shown.

    Positive exactly where the deployed label is y; only its sign, 1 or -1, where labels alone are shown. Where int8
    scores tie, logits alone would tell otherwise: the label is the first of equal scores.
    """
    holds = outputs.labels == y
    if access == "labels":
        return np.where(holds, 1.0, -1.0)
    shown = outputs.logits if access == "logits" else None
    values = outputs.scores.astype(np.float64) if shown is None else shown
    rows = np.arange(len(y))
    others = values.copy()
    others[rows, y] = -np.inf
    margin = np.abs(values[rows, y] - others.max(axis=1))
    return np.asarray(np.where(holds, np.maximum(margin, np.finfo(float).tiny), -margin), dtype=np.float64)


def _whole_steps(moved: NDArray[np.float64], eps: int) -> NDArray[np.float64]:
    """Moves float64[n, elements] of an L2 length of at most eps, in whole steps: see `Ball.to_grid`."""
    steps = np.rint(moved)
    energy, wanted = (steps**2).sum(axis=1), np.rint((moved**2).sum(axis=1))  # whole numbers, as all on the grid
    budget = np.minimum(eps**2, np.maximum(energy, wanted))
    for row in np.flatnonzero(energy != budget):
        steps[row] = _filled(moved[row], budget[row])
    return steps


def _filled(moved: NDArray[np.float64], budget: float) -> NDArray[np.float64]:
    """One sample's moves, rounded so that the sum of their squares fills a budget as far as whole steps do.

    All are cut to whole steps; then those that lost most are lengthened by one, which costs 2 m + 1 from m on, as long
    as the budget lasts.
    """
    size = np.abs(moved)
    steps = np.floor(size)
    lost = size - steps
    # Equal losses, as patterns of equal values have them, are met all over the input and not from its start on.
    order = np.argsort(-lost - _TIES * (np.arange(len(moved)) * _GOLDEN % 1))
    order = order[lost[order] > 0]
    cost, left = 2 * steps[order] + 1, budget - (steps**2).sum()
    while (fits := np.flatnonzero(cost <= left)).size:  # what is too costly is passed over
        order, cost = order[fits], cost[fits]
        paid = int(np.searchsorted(cost.cumsum(), left, side="right"))
        steps[order[:paid]] += 1
        left -= cost[:paid].sum()
        order, cost = order[paid:], cost[paid:]
    return np.asarray(np.copysign(steps, moved))
