"""What an attack is given and what it returns. An attack is one small class in one file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tritguard.predictor import Int8, Outputs, Predictor

if TYPE_CHECKING:
    from tritguard.attack.view import GradientView

Kind = Literal["white box", "black box", "baseline"]
INT8_MIN, INT8_MAX = -128, 127


@dataclass(frozen=True)
class Target:
    """The attacked model and the samples.

    Attributes:
        predictor: the deployed model, here the twin; a board works as well.
        view: its differentiable view; white-box attacks need it.
        x: int8[n, *input_shape], clean inputs.
        y: int64[n], true labels.
        seed: of everything random.
    """

    predictor: Predictor
    view: GradientView | None
    x: Int8
    y: NDArray[np.int64]
    seed: int


@dataclass(frozen=True)
class Crafted:
    """Adversarial candidates.

    Attributes:
        x: int8[n, *input_shape], each within eps steps of its clean input.
        queries: forward passes of the deployed model, all samples together.
        gradients: gradients taken from the view, all samples together.
    """

    x: Int8
    queries: int
    gradients: int


class Attack(Protocol):
    """Searches, within an L-infinity ball, for inputs that change the deployed model's label."""

    name: str
    kind: Kind

    @property
    def parameters(self) -> dict[str, float | int | str]:
        """Everything that, with the seed, determines the outcome."""
        ...

    def craft(self, target: Target, eps: int) -> Crafted:
        """Craft one candidate a sample with eps in steps of the int8 input grid."""
        ...


def to_grid(candidates: NDArray[np.float32], clean: Int8, eps: int) -> Int8:
    """Round float candidates, in int8 steps, to the input grid and project them into the ball and the int8 range."""
    wide = clean.astype(np.int16)
    low, high = np.maximum(wide - eps, INT8_MIN), np.minimum(wide + eps, INT8_MAX)
    return np.clip(np.rint(candidates), low, high).astype(np.int8)


def margins(outputs: Outputs, y: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64[n]: true class' logit minus the best other's; on int8 scores where there are no logits.

    Positive exactly where the deployed label is still y. Where int8 scores tie, logits alone would tell otherwise:
    the label is the first of equal scores.
    """
    values = outputs.scores.astype(np.float64) if outputs.logits is None else outputs.logits
    rows = np.arange(len(y))
    others = values.copy()
    others[rows, y] = -np.inf
    margin = np.abs(values[rows, y] - others.max(axis=1))
    holds = outputs.labels == y
    return np.asarray(np.where(holds, np.maximum(margin, np.finfo(float).tiny), -margin), dtype=np.float64)
