"""Gradient fidelity: whether the deployed network's loss changes as its view predicts.

Gradients pass straight through every rounding of the view, also where the rounded value never changes, so they can
point anywhere while all outputs are right. What they promise is therefore held against differences of the deployed
network's own logits, on the samples that hold: the gradients of all others led somewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritguard.attack import Ball, Target
from tritguard.attack.gradient import Gradients
from tritguard.attack.rivals import allowed
from tritguard.attack.view import GradientView
from tritguard.evaluate.robustness.table import Flags
from tritguard.predictor import Int8

# Of what a gradient promises along itself, over the whole ball, a network has to keep this much; and on random moves,
# the promised and the real changes have to agree at least so well (their cosine). On the samples that hold, honest
# networks of int8 and of ternary weights keep 0.4 and agree to 0.35 at least.
KEPT = 0.25
AGREED = 0.2
_PAIRS = 12  # random moves, each with its opposite
_LEAST = 4  # int8 steps of a random move; smaller ones drown in the rounding of a network of few bits

Values = NDArray[np.float64]  # one number for each sample


@dataclass(frozen=True)
class Fidelities:
    """How the gradients of samples do.

    Attributes:
        astray: bool[n], those that lead nowhere in the ball.
        rough: bool[n], those that do not keep what they promise within one step.
    """

    astray: Flags
    rough: Flags


def measure(target: Target, ball: Ball, attacked: Int8) -> Fidelities:
    """Find the samples whose gradients lead nowhere.

    The loss is the logit of the strongest rival minus that of the true class (in a targeted attack, that of the wanted
    class minus the strongest other one). On the clean and on the attacked input of each sample, the move from one side
    of the ball to the other along the gradient has to keep a quarter of the change that the gradient promises; and on
    random moves from the clean input, promised and real changes have to agree.

    Args:
        target: the deployed network, the view whose gradients are judged, and the samples.
        ball: what attacks may use.
        attacked: int8[n, *input_shape], what an attack that follows gradients found, in the ball.
    """
    if len(target.x) == 0:
        return Fidelities(np.zeros(0, bool), np.zeros(0, bool))
    gradients = Gradients(target, "margin")
    clean, later = (_Probe(target, gradients, x) for x in (target.x, attacked))
    astray = (clean.along(ball, ball.eps) < KEPT) | (later.along(ball, ball.eps) < KEPT)
    return Fidelities(astray | (clean.agreement(ball) < AGREED), clean.along(ball, 1) < KEPT)


class _Probe:
    """The gradient at one input of each sample, and the two logits whose difference it is of."""

    def __init__(self, target: Target, gradients: Gradients, x: Int8) -> None:
        assert isinstance(target.view, GradientView)
        rows = np.arange(len(x))
        self._target, self._x, self._view = target, x, target.view
        self._gradient = gradients(x.astype(np.float32), rows)[1].astype(np.float64) * target.view.temperature
        self._fixed = target.y if target.aim is None else target.aim
        others = self._values(x)
        others[~allowed(target.rivals, self._fixed, others.shape[1])] = -np.inf
        others[rows, self._fixed] = -np.inf
        self._other = others.argmax(axis=1)

    def along(self, ball: Ball, steps: int) -> Values:
        """The change between moves of so many steps, along the gradient and back, as a share of what it promises."""
        reach = steps * ball.geometry.steepest(self._gradient)
        start = self._x.astype(np.float64)
        high, low = (ball.to_grid(start + sign * reach, self._target.x) for sign in (1, -1))
        promised = self._promised(high, low)
        return np.where(promised > 0, self._changed(high, low) / np.maximum(promised, 1e-300), 0.0)

    def agreement(self, ball: Ball) -> Values:
        """The cosine between promised and real changes over random moves that change every element."""
        rng = np.random.default_rng(self._target.seed)
        reach = max(_LEAST, ball.eps if ball.geometry.box else 0)
        promised, changed = [], []
        for _ in range(_PAIRS):
            move = rng.choice([-reach, reach], self._x.shape)
            high, low = (ball.clip(self._x + sign * move.astype(np.float64)).astype(np.int8) for sign in (1, -1))
            promised.append(self._promised(high, low))
            changed.append(self._changed(high, low))
        one, other = np.stack(promised), np.stack(changed)
        lengths = np.sqrt((one**2).sum(axis=0) * (other**2).sum(axis=0))
        return np.where(lengths > 0, (one * other).sum(axis=0) / np.maximum(lengths, 1e-300), 0.0)

    def _promised(self, high: Int8, low: Int8) -> Values:
        moved = high.astype(np.float64) - low
        return np.asarray((self._gradient * moved).reshape(len(moved), -1).sum(axis=1))

    def _changed(self, high: Int8, low: Int8) -> Values:
        return self._loss(high) - self._loss(low)

    def _loss(self, x: Int8) -> Values:
        values, rows = self._values(x), np.arange(len(x))
        loss = values[rows, self._other] - values[rows, self._fixed]
        return np.asarray(loss if self._target.aim is None else -loss)

    def _values(self, x: Int8) -> NDArray[np.float64]:
        """The outputs in the view's unit: float64[n, classes]; logits where there are any, whoever may see them."""
        outputs = self._target.predictor.predict(x)
        if outputs.logits is not None:
            return outputs.logits.copy()
        graph = self._view.graph
        return outputs.scores.astype(np.float64) * graph.tensors[graph.output].scale
