"""Linf: the largest change of any element."""

from __future__ import annotations

import numpy as np
from typing_extensions import override

from tritguard.attack.arrays import column, flat
from tritguard.attack.norms.base import Float64, Floats, Norm
from tritguard.graph.arithmetic.fixed_point import INT8_MAX, INT8_MIN
from tritguard.predictor import Int8


class Linf(Norm):
    """Each element may change by eps, whatever the others do; candidates are rounded to the nearest input."""

    name = "Linf"
    meaning = "largest change of any input value"
    order = np.inf
    box = True
    farthest = INT8_MAX - INT8_MIN

    @override
    def sanity_eps(self, largest: int) -> int:
        return max(64, min(self.farthest, 2 * largest))

    @override
    def lengths(self, moves: Floats) -> Floats:
        return np.asarray(flat(np.abs(moves)).max(axis=1, initial=0))

    @override
    def to_grid(self, candidates: Floats, clean: Int8, eps: int) -> Int8:
        wide = clean.astype(np.float64)
        low, high = np.maximum(wide - eps, INT8_MIN), np.minimum(wide + eps, INT8_MAX)
        return np.asarray(np.clip(np.rint(candidates), low, high), np.int8)

    @override
    def shrink(self, moves: Floats, eps: int) -> Floats:
        return np.clip(moves, -eps, eps)

    @override
    def steepest(self, gradients: Floats) -> Floats:
        return np.sign(gradients)

    @override
    def start(self, rng: np.random.Generator, shape: tuple[int, ...], eps: int) -> Floats:
        """Uniform in the ball."""
        return rng.uniform(-eps, eps, shape)

    @override
    def to_edge(self, rng: np.random.Generator, clean: Float64, eps: int) -> Float64:
        return rng.choice([-float(eps), float(eps)], clean.shape)

    @override
    def towards_clean(self, moves: Floats, share: Float64) -> Floats:
        """Cut to a box around the clean input: elements that moved little stay where they are."""
        reach = column(share, moves) * column(self.lengths(moves), moves)
        return np.clip(moves, -reach, reach)
