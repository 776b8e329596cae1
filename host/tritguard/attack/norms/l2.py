"""L2: the root of the sum of squared changes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.attack.arrays import column, euclidean, flat
from tritguard.attack.norms.base import Float64, Floats, Norm
from tritguard.graph.arithmetic.fixed_point import INT8_MAX, INT8_MIN
from tritguard.predictor import Int8

_TINY = 1e-12  # in place of a length of zero, which cannot be divided by
_GOLDEN = (5**0.5 - 1) / 2  # its multiples, modulo one, are spread evenly
_TIES = 1e-3  # rounding losses that differ by less than this share of a step count as equal


class L2(Norm):
    """The Euclidean distance.

    Most elements of a spread-out move are less than half a step, so that the nearest input to it is the clean one.
    `to_grid` therefore takes the nearest input only if it lies in the ball and no closer to the clean input than the
    candidate; otherwise it takes one that is as far away as the candidate, or as the radius where that is less.
    """

    name = "L2"
    meaning = "root of the summed squares of all changes"
    order = 2

    @override
    def lengths(self, moves: Floats) -> Floats:
        return euclidean(moves)

    @override
    def to_grid(self, candidates: Floats, clean: Int8, eps: int) -> Int8:
        wide = clean.astype(np.float64)
        moves = self.shrink(np.clip(candidates, INT8_MIN, INT8_MAX) - wide, eps)
        steps = whole_steps(flat(moves), eps)
        return np.asarray(wide + steps.reshape(wide.shape), np.int8)

    @override
    def shrink(self, moves: Floats, eps: int) -> Floats:
        return np.asarray(moves * column(np.minimum(1, eps / np.maximum(euclidean(moves), _TINY)), moves))

    @override
    def steepest(self, gradients: Floats) -> Floats:
        return np.asarray(gradients / column(np.maximum(euclidean(gradients), _TINY), gradients))

    @override
    def start(self, rng: np.random.Generator, shape: tuple[int, ...], eps: int) -> Floats:
        return np.asarray(eps * self.steepest(rng.normal(size=shape)).astype(np.float32))

    @override
    def to_edge(self, rng: np.random.Generator, clean: Float64, eps: int) -> Float64:
        """On the sphere; elements that would leave the range of int8 go the other way, so that no length is lost."""
        moves = rng.standard_normal(clean.shape)
        moves *= column(eps / euclidean(moves), moves)
        beyond = np.clip(clean + moves, INT8_MIN, INT8_MAX) != clean + moves
        return np.where(beyond, -moves, moves)


def whole_steps(moves: NDArray[np.floating], eps: int | Float64) -> Float64:
    """Moves, [n, elements], of at most length eps (a number, or float64[n]) rounded to whole steps; see `L2`."""
    steps = np.rint(moves)
    energy, wanted = (steps**2).sum(axis=1), np.rint((moves**2).sum(axis=1))  # whole, as all energies on the grid are
    budget = np.minimum(np.floor(np.asarray(eps, np.float64) ** 2), np.maximum(energy, wanted))
    for row in np.flatnonzero(energy != budget):
        steps[row] = _filled(moves[row], budget[row])
    return np.asarray(steps, np.float64)


def _filled(moves: NDArray[np.floating], budget: float) -> Float64:
    """One sample's moves, [elements], rounded so that the sum of their squares fills a budget as far as possible.

    All moves are cut to whole steps. Then those that lost most are lengthened by one step, which costs 2 m + 1 for a
    move of m steps, for as long as the budget lasts.
    """
    size = np.abs(moves)
    steps = np.floor(size)
    lost = size - steps
    # Elements with equal losses, as in patterns of equal values, are lengthened all over the input, not from its start.
    order = np.argsort(-lost - _TIES * (np.arange(len(moves)) * _GOLDEN % 1))
    order = order[lost[order] > 0]
    cost, left = 2 * steps[order] + 1, budget - (steps**2).sum()
    while (fits := np.flatnonzero(cost <= left)).size:  # what costs too much is passed over
        order, cost = order[fits], cost[fits]
        paid = int(np.searchsorted(cost.cumsum(), left, side="right"))
        steps[order[:paid]] += 1
        left -= cost[:paid].sum()
        order, cost = order[paid:], cost[paid:]
    return np.asarray(np.copysign(steps, moves))
