"""ZOO: Carlini and Wagner's attack with slopes estimated from queries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.attack.adam import Adam
from tritguard.attack.base import Asking, Ball, Best, Crafted, Kind, Places, Queries, Target
from tritguard.graph.arithmetic.fixed_point import INT8_MAX, INT8_MIN
from tritguard.predictor import Int8


class Zoo(Asking):
    """Zeroth order optimization (Chen et al. 2017, 1708.03999, algorithms 1 and 2), untargeted and targeted.

    Adam minimises, coordinate by coordinate, the squared Euclidean distance plus c times the margin. In a ball that
    bounds each element by itself, as in Linf, it minimises the margin alone and iterates are cut to the ball. The slope
    of a coordinate is the difference quotient of two queries. To see whether an iterate fools the model, the model is
    asked about the nearest input in the ball.

    Threat model: black box, score based: the attack sees the part of the outputs that `Target.access` names. Int8
    scores hardly change within a step, and labels do not: with these Boundary and HopSkipJump should be used. Steps,
    distances and the rate are in int8 steps.

    This is our own implementation. ART's measures slopes over 1e-4 by default, less than the input grid resolves, and
    so makes models look robust that are not; it adds its whole change to the input anew in every iteration; and it runs
    sample by sample.

    Args:
        queries: the largest number of forward passes per sample; a sample fooled within the ball is not asked again.
        coordinates: the number of coordinates whose slopes are measured in an iteration, with two queries each.
        rate: Adam's step size; at least a quarter of eps where the ball bounds each element, because each moves rarely.
        step: the distance of the two queries from the iterate; at least one, or both would ask about the same input.
        c: the weight of one unit of margin relative to one squared step of distance.
    """

    name = "ZOO"
    kind: Kind = "black box"

    def __init__(
        self, queries: int = 1000, coordinates: int = 128, rate: float = 2.0, step: int = 1, c: float = 10.0
    ) -> None:
        self.queries = queries
        self.coordinates = coordinates
        self.rate = rate
        self.step = step
        self.c = c

    @property
    @override
    def parameters(self) -> dict[str, float | int | str]:
        return {**vars(self), "implementation": "tritguard"}

    @override
    def craft(self, target: Target, ball: Ball) -> Crafted:
        rng = np.random.default_rng((target.seed, ball.eps))
        queries, best = Queries(target), Best(target)
        best.take(target.x, queries.margins(target.x))
        clean = target.x.reshape(len(target.x), -1).astype(np.float64)
        box = ball.geometry.box
        reach = ball.eps if box else ball.high - ball.low
        low, high = np.maximum(clean - reach, ball.low), np.minimum(clean + reach, ball.high)
        x, adam = clean.copy(), Adam(clean.shape, max(self.rate, ball.eps / 4) if box else self.rate)
        coordinates = min(self.coordinates, clean.shape[1])
        for _ in range((self.queries - 1) // (2 * coordinates + 1)):
            active = np.flatnonzero(best.margins > 0)
            if active.size == 0:
                break
            chosen = rng.random((len(active), clean.shape[1])).argpartition(coordinates - 1, axis=1)[:, :coordinates]
            place = (active[:, None], chosen)
            slopes = self.c * self._slopes(queries, target, x[active], active, chosen)
            if not box:
                slopes += 2 * (x[place] - clean[place])
            x[place] = np.clip(x[place] - adam.step(slopes, place), low[place], high[place])
            on_grid = ball.to_grid(x[active].reshape(-1, *target.x.shape[1:]), target.x[active])
            best.take(on_grid, queries.margins(on_grid, active), active)
        return Crafted(best.x, queries.made, gradients=0)

    def _slopes(
        self, queries: Queries, target: Target, x: NDArray[np.float64], samples: Places, chosen: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """float64[m, coordinates]: the slopes of the margins at x, float64[m, elements], per int8 step."""
        count, many = len(x), chosen.shape[1]
        grid = np.rint(x).astype(np.int16)
        tried = np.repeat(grid[:, None], 2 * many, axis=1)
        rows, pairs = np.arange(count)[:, None], np.arange(many)
        tried[rows, pairs, chosen] += self.step
        tried[rows, many + pairs, chosen] -= self.step
        tried = np.clip(tried, INT8_MIN, INT8_MAX)  # at the ends of the range the difference is one-sided
        asked: Int8 = tried.reshape(-1, *target.x.shape[1:]).astype(np.int8)
        margins = queries.margins(asked, np.repeat(samples, 2 * many)).reshape(count, 2, many)
        apart = tried[rows, pairs, chosen] - tried[rows, many + pairs, chosen]
        return np.asarray((margins[:, 0] - margins[:, 1]) / apart)
