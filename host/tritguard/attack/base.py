"""What an attack is given and what it returns. Each attack is one small class in a file of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.norms import NORMS, Norm
from tritguard.attack.rivals import Rivals, told_apart
from tritguard.errors import BadInputError
from tritguard.graph.arithmetic.fixed_point import INT8_MAX, INT8_MIN
from tritguard.predictor import Int8, Outputs, Predictor

if TYPE_CHECKING:
    from tritguard.attack.view import DifferentiableView

Kind = Literal["white box", "black box", "transfer", "baseline"]
Follows = Literal["one gradient", "gradients", "gradients and answers", "scores", "decisions"]
Goal = Literal["untargeted", "targeted"]
Access = Literal["logits", "scores", "labels"]  # what the device reveals of its outputs
Labels = NDArray[np.int64]  # one class per sample
Limits = tuple[int, int]  # the lowest and the highest int8 step that inputs may have
Places = NDArray[np.int64]  # which samples of a target are meant
T = TypeVar("T")

_TIED = 1e-100  # the largest margin of a label that holds though another logit is as large; below any other margin


@dataclass(frozen=True)
class Ball:
    """The inputs an attacker may use for a clean one: on the int8 grid, in the data's own range, at most eps away.

    Attributes:
        norm: what the distance is measured in: a name from `NORMS`.
        eps: the largest distance, in steps of the int8 input grid.
        low: the lowest step that the data can have; no clean input is below it.
        high: the highest step that the data can have.
    """

    norm: str
    eps: int
    low: int = INT8_MIN
    high: int = INT8_MAX

    @property
    def geometry(self) -> Norm:
        """The norm itself."""
        return NORMS[self.norm]

    def within(self, limits: Limits) -> Ball:
        """The same ball, cut to the steps that the data can have."""
        return replace(self, low=limits[0], high=limits[1])

    def clip(self, candidates: NDArray[np.floating]) -> NDArray[np.floating]:
        """Candidates of any shape, in steps, cut to the data's own range."""
        return np.asarray(np.clip(candidates, self.low, self.high))

    def distances(self, x: Int8, clean: Int8) -> NDArray[np.float64]:
        """float64[n]: how far each input is from its clean one, in steps."""
        return np.asarray(self.geometry.lengths(x.astype(np.float64) - clean), np.float64)

    def to_grid(self, candidates: NDArray[np.floating], clean: Int8) -> Int8:
        """Float candidates, [n, *input_shape] in steps, as inputs on the grid and in the ball; see the norm's class.

        A norm puts an element between its clean value and the candidate's, so what is cut to the range stays in it.
        """
        return self.geometry.to_grid(self.clip(candidates), clean, self.eps)


@dataclass(frozen=True)
class Target:
    """The attacked model and the samples.

    Attributes:
        predictor: the deployed model: its twin, or a board.
        view: its differentiable view, which white-box attacks need.
        x: int8[n, *input_shape], clean inputs.
        y: int64[n], true labels.
        seed: the seed of everything that is drawn at random.
        aim: int64[n], the labels that a targeted attack wants; None if any wrong label will do.
        access: which part of the outputs black-box attacks are shown.
        rivals: the outputs that each class is compared with by losses and margins; None if all others are. See
            `find_rivals`.
        starts: int8[n, *input_shape], where searches begin that can begin anywhere; the clean input for a sample
            without a known start. None if no sample has one.
    """

    predictor: Predictor
    view: DifferentiableView | None
    x: Int8
    y: Labels
    seed: int
    aim: Labels | None = None
    access: Access = "logits"
    rivals: Rivals | None = None
    starts: Int8 | None = None

    def broken(self, labels: Labels) -> NDArray[np.bool_]:
        """bool[n]: where the attacker has what it wants."""
        return np.asarray(labels != self.y if self.aim is None else labels == self.aim)

    def part(self, samples: Places) -> Target:
        """The same model with only the samples at these places, int64[m]."""
        aim = None if self.aim is None else self.aim[samples]
        starts = None if self.starts is None else self.starts[samples]
        return replace(self, x=self.x[samples], y=self.y[samples], aim=aim, starts=starts)

    def margins(self, outputs: Outputs, samples: Places | None = None) -> NDArray[np.float64]:
        """float64[n]: how far the attacker is from its goal; positive exactly where the goal is not reached.

        For an untargeted attack this is the logit of the true class minus the largest of its rivals'; for a targeted
        attack the largest logit of the wanted class's rivals minus its own.

        Args:
            outputs: the model's answers to inputs crafted for these samples.
            samples: the places of the samples in `x`; by default all of them, in order.
        """
        chosen = np.arange(len(self.y)) if samples is None else samples
        if self.aim is None:
            return margins(outputs, self.y[chosen], self.access, self.rivals)
        return -margins(outputs, self.aim[chosen], self.access, self.rivals)


class Queries:
    """The target as a black box: shows only what the threat model allows, and counts queries.

    Attributes:
        made: the number of forward passes so far.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self.made = 0

    def margins(self, x: Int8, samples: Places | None = None) -> NDArray[np.float64]:
        """The margins of x, see `Target.margins`; where only labels are revealed, they are 1 or -1."""
        self.made += len(x)
        return self._target.margins(self._target.predictor.predict(x), samples)


@dataclass(frozen=True)
class Crafted:
    """Adversarial candidates.

    Attributes:
        x: int8[n, *input_shape], each in the ball around its clean input.
        queries: forward passes of the deployed model, summed over all samples.
        gradients: gradients taken from the view, summed over all samples.
    """

    x: Int8
    queries: int
    gradients: int


class Attack(ABC):
    """Searches, in a ball around each sample, for an input on which the deployed model does what the attacker wants.

    Attributes:
        name: what results call it.
        kind: what the attacker knows.
        follows: what guides the search; the checks of an evaluation compare attacks by it. An attack that follows
            gradients alone, many of them (`gradients`) or a single one (`one gradient`), fails where they are masked;
            one that follows the model's answers as well does not. Without gradients a search follows the model's
            `scores`, which may hide where it has to go, or only its `decisions`.
    """

    name: str
    kind: Kind
    follows: ClassVar[Follows] = "scores"

    @property
    @abstractmethod
    def parameters(self) -> dict[str, float | int | str]:
        """Everything that, with target and ball, determines the outcome."""

    @property
    def starts(self) -> int:
        """The number of points from which it searches for each sample: one, unless it restarts."""
        return 1

    @abstractmethod
    def craft(self, target: Target, ball: Ball) -> Crafted:
        """Craft one candidate for each sample."""


class Asking(Attack):
    """An attack that needs nothing but the deployed model's answers, so that it can run on a device.

    Attributes:
        queries: the largest number of forward passes per sample.
    """

    queries: int


def for_norm(behaviours: Mapping[str, T], ball: Ball, attack: str) -> T:
    """What an attack does in this ball, where it needs something of its own for each norm.

    Raises:
        BadInputError: it has nothing for the ball's norm.
    """
    if ball.norm not in behaviours:
        raise BadInputError(f"{attack} works in {', '.join(behaviours)} balls, not in {ball.norm} ones")
    return behaviours[ball.norm]


class Best:
    """For each sample, the candidate that came nearest to the attacker's goal so far.

    Attributes:
        x: int8[n, *input_shape], the candidates.
        margins: float64[n], their margins; see `Target.margins`.
    """

    def __init__(self, target: Target) -> None:
        self.x = target.x.copy()
        self.margins = np.full(len(target.x), np.inf)

    def take(self, x: Int8, margins: NDArray[np.float64], samples: Places | None = None) -> None:
        """Keep those of the candidates for these samples (by default for all) that are better."""
        chosen = np.arange(len(self.x)) if samples is None else samples
        better = margins < self.margins[chosen]
        self.x[chosen[better]] = x[better]
        self.margins[chosen[better]] = margins[better]


def margins(
    outputs: Outputs, y: Labels, access: Access = "logits", rivals: Rivals | None = None
) -> NDArray[np.float64]:
    """float64[n]: the logit of class y minus the largest of its rivals (see `find_rivals`), by default of all others.

    Int8 scores stand in for logits that the model does not have or the attacker is not shown; where only labels are
    shown, the margin is 1 or -1. It is positive exactly where the deployed label is y. Logits alone would not ensure
    that: where int8 scores tie, the label is the first of the equal scores. There the margin is tiny, and still falls
    as the other logit rises.
    """
    holds = outputs.labels == y
    if access == "labels":
        return np.where(holds, 1.0, -1.0)
    shown = outputs.logits if access == "logits" else None
    values = told_apart(outputs.scores.astype(np.float64) if shown is None else shown, y, rivals)
    rows = np.arange(len(y))
    others = values.copy()
    others[rows, y] = -np.inf
    ahead = values[rows, y] - others.max(axis=1)
    tied = _TIED / (1 + np.abs(ahead))
    return np.asarray(np.where(holds, np.where(ahead > 0, ahead, tied), -np.abs(ahead)), dtype=np.float64)
