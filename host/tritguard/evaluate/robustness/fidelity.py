"""Gradient fidelity: whether the deployed network's loss changes as its view predicts.

Gradients pass straight through every rounding of the view, also where the rounded value never changes, so they can
point anywhere while all outputs are right. What they promise is therefore held against differences of the deployed
network's own logits, on the samples that hold: the gradients of all others led somewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritguard.attack import Ball, Target
from tritguard.attack.base import Places
from tritguard.attack.gradient import Gradients
from tritguard.attack.rivals import allowed
from tritguard.attack.view import GradientView
from tritguard.evaluate.robustness.table import Flags
from tritguard.graph.arithmetic.fixed_point import INT8_MAX, INT8_MIN
from tritguard.predictor import Int8

# A network has to keep this share of what its gradient promises along itself, over the whole ball; and on random moves,
# the cosine of the promised and the real changes has to be at least the second figure. On the samples that hold, honest
# networks with int8 and with ternary weights keep at least 0.4, and their cosine is at least 0.35.
KEPT = 0.25
AGREED = 0.2
_PAIRS = 12  # random moves at first, each with its opposite
_LEAST = 4  # int8 steps of a random move; smaller ones drown in the rounding of a network of few bits
_RANGE = INT8_MAX - INT8_MIN
_ON_THE_WAY = 4  # inputs between the clean and the attacked one, in norms whose moves change few elements

Values = NDArray[np.float64]  # one number for each sample


@dataclass(frozen=True)
class Fidelities:
    """How the gradients of n samples fare.

    Attributes:
        astray: bool[n], those that lead nowhere in the ball.
        rough: bool[n], those that do not keep what they promise within one step; none in balls of norms in which one
            step is less than any input can change.
    """

    astray: Flags
    rough: Flags


def measure(target: Target, ball: Ball, attacked: Int8) -> Fidelities:
    """Find the samples whose gradients lead nowhere.

    The loss is the logit of the strongest rival minus that of the true class (in a targeted attack, that of the wanted
    class minus the strongest other one). On the clean and on the attacked input of each sample, the move from one side
    of the ball to the other along the gradient has to keep a quarter of the change that the gradient promises; and on
    random moves from the clean input, promised and real changes have to agree.

    A move of few elements, as in a patch, says little of a network of few bits. In such norms a sample has to keep that
    quarter of the sums over several places and over inputs on the way to the attacked one. Where gradients promise no
    other answer over the whole range of values, as in a black corner, random moves alone decide.

    Args:
        target: the deployed network, the view whose gradients are judged, and the samples.
        ball: what attacks may use.
        attacked: int8[n, *input_shape], what an attack that follows gradients found, in the ball.
    """
    if len(target.x) == 0:
        return Fidelities(np.zeros(0, bool), np.zeros(0, bool))
    gradients = Gradients(target, "margin")
    clean = _Probe(target, gradients, target.x)
    later = (_Probe(target, gradients, x) for x in _on_the_way(target.x, attacked, ball))
    astray = (_kept([clean], ball, ball.eps) < KEPT) | (_kept(later, ball, ball.eps) < KEPT)
    if ball.geometry.placed:
        astray &= clean.tells(ball)
    doubted = np.flatnonzero(~astray)
    for pairs in (_PAIRS, 4 * _PAIRS):  # few moves say little; those that seem to disagree get more
        doubted = doubted[clean.agreement(ball, doubted, pairs) < AGREED]
    astray[doubted] = True
    rough = _kept([clean], ball, 1) < KEPT if ball.geometry.box else np.zeros(len(target.x), bool)
    return Fidelities(astray, rough)


def agreement(target: Target, ball: Ball) -> float:
    """How well promised and real changes agree on random moves from the clean inputs: the mean cosine over samples."""
    probe = _Probe(target, Gradients(target, "margin"), target.x)
    return float(probe.agreement(ball, np.arange(len(target.x)), _PAIRS).mean())


def _on_the_way(clean: Int8, attacked: Int8, ball: Ball) -> Iterator[Int8]:
    moved = attacked.astype(np.float64) - clean
    points = _ON_THE_WAY if ball.geometry.placed else 1
    for point in range(points):
        yield np.rint(clean + moved * (point + 1) / points).astype(np.int8)


def _kept(probes: Iterable[_Probe], ball: Ball, steps: int) -> Values:
    """The share that each sample keeps of what gradients promise, over all moves along the gradients."""
    changes = [pair for probe in probes for pair in probe.along(ball, steps)]
    promised, changed = (np.sum(each, axis=0) for each in zip(*changes, strict=True))
    return np.where(promised > 0, changed / np.maximum(promised, 1e-300), 0.0)


class _Probe:
    """The gradient at one input for each sample, and the two logits whose difference is the loss."""

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

    def along(self, ball: Ball, steps: int) -> Iterator[tuple[Values, Values]]:
        """The promised and the real change between two moves of `steps` steps, against the gradient and along it."""
        start, everyone = self._x.astype(np.float64), np.arange(len(self._x))
        for reach in ball.geometry.all_along(self._gradient, steps, start - self._target.x):
            high, low = (ball.to_grid(start + sign * reach, self._target.x) for sign in (1, -1))
            yield self._changes(high, low, everyone)

    def tells(self, ball: Ball) -> Flags:
        """Whether gradients promise another answer, were the network linear over the whole range of values."""
        start, everyone = self._x.astype(np.float64), np.arange(len(self._x))
        most = np.zeros(len(self._x))
        for reach in ball.geometry.all_along(self._gradient, ball.eps, start - self._target.x):
            high, low = (ball.to_grid(start + sign * _RANGE * np.sign(reach), self._target.x) for sign in (1, -1))
            most = np.maximum(most, self._changes(high, low, everyone)[0])
        return np.asarray(most >= -self._loss(self._x, everyone))

    def agreement(self, ball: Ball, rows: Places, pairs: int) -> Values:
        """The cosine of promised and real changes of these samples over random moves that change every element."""
        rng = np.random.default_rng((self._target.seed, pairs))
        reach = max(_LEAST, ball.eps if ball.geometry.box else 0)
        start, changes = self._x[rows].astype(np.float64), []
        for _ in range(pairs if len(rows) else 0):
            move = rng.choice([-float(reach), float(reach)], start.shape)
            high, low = (ball.clip(start + sign * move).astype(np.int8) for sign in (1, -1))
            changes.append(self._changes(high, low, rows))
        if not changes:
            return np.zeros(0)
        promised, changed = (np.stack(each) for each in zip(*changes, strict=True))
        lengths = np.sqrt((promised**2).sum(axis=0) * (changed**2).sum(axis=0))
        return np.where(lengths > 0, (promised * changed).sum(axis=0) / np.maximum(lengths, 1e-300), 0.0)

    def _changes(self, high: Int8, low: Int8, rows: Places) -> tuple[Values, Values]:
        """The promised and the real change of the loss from the input `low` of each of these samples to `high`."""
        moved = (high.astype(np.float64) - low).reshape(len(rows), -1)
        promised = (self._gradient[rows].reshape(len(rows), -1) * moved).sum(axis=1)
        return promised, self._loss(high, rows) - self._loss(low, rows)

    def _loss(self, x: Int8, rows: Places) -> Values:
        values, each = self._values(x), np.arange(len(x))
        loss = values[each, self._other[rows]] - values[each, self._fixed[rows]]
        return np.asarray(loss if self._target.aim is None else -loss)

    def _values(self, x: Int8) -> NDArray[np.float64]:
        """The outputs in the view's unit: float64[n, classes]; logits where there are any, whoever may see them."""
        outputs = self._target.predictor.predict(x)
        if outputs.logits is not None:
            return outputs.logits.copy()
        graph = self._view.graph
        return outputs.scores.astype(np.float64) * graph.tensors[graph.output].scale
