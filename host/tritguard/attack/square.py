"""Square attack on the int8 grid."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.base import INT8_MAX, INT8_MIN, Ball, Best, Crafted, Kind, Queries, Samples, Target
from tritguard.errors import BadInputError
from tritguard.predictor import Int8


class Square:
    """Random search with windows of +-eps (Andriushchenko et al. 2020, 1912.00049, section 3.2, L-infinity).

    Our own, since ART's implementation takes square inputs only and feature maps such as 49 x 10 x 1 are not; windows
    here are cut to the input's sides. It sees the deployed model's logits and no gradient.

    Args:
        queries: the most forward passes a sample.
        p_init: share of the input that the first windows cover.
    """

    name = "Square"
    kind: Kind = "black box"

    def __init__(self, queries: int = 300, p_init: float = 0.8) -> None:
        self.queries = queries
        self.p_init = p_init

    @property
    def parameters(self) -> dict[str, float | int | str]:
        """See Attack."""
        return {"queries": self.queries, "p_init": self.p_init, "implementation": "tritguard"}

    def craft(self, target: Target, ball: Ball) -> Crafted:
        """See Attack.

        Raises:
            BadInputError: the ball is no Linf ball.
        """
        if ball.norm != "Linf":
            raise BadInputError("Square is the Linf version", where=f"norm {ball.norm}")
        eps = ball.eps
        rng = np.random.default_rng((target.seed, eps))
        height, width, channels = _as_image(target.x.shape[1:])
        images = target.x.astype(np.int16).reshape(-1, height, width, channels)
        low, high = np.maximum(images - eps, INT8_MIN), np.minimum(images + eps, INT8_MAX)
        queries, best = Queries(target), Best(target)

        def take(tried: NDArray[np.int16], samples: Samples) -> None:
            x: Int8 = tried.astype(np.int8).reshape(-1, *target.x.shape[1:])
            best.take(x, queries.margins(x, samples), samples)

        stripes = rng.choice([-eps, eps], (len(images), 1, width, channels))
        take(np.clip(images + stripes, low, high), np.arange(len(images)))
        for query in range(1, self.queries):
            active = np.flatnonzero(best.margins > 0)
            if active.size == 0:
                break
            share = self.p_init * _share(query, self.queries)
            side = max(1, round(math.sqrt(share * height * width)))
            tried = best.x[active].astype(np.int16).reshape(-1, height, width, channels)
            for row, sample in enumerate(active):
                rows, columns = min(side, height), min(side, width)
                top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
                window = np.s_[top : top + rows, left : left + columns]
                shifted = images[sample][window] + rng.choice([-eps, eps], channels)
                tried[row][window] = np.clip(shifted, low[sample][window], high[sample][window])
            take(tried, active)
        return Crafted(best.x, queries.made, gradients=0)


def _as_image(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Vectors are images of one row, matrices of one channel: a window is a run or a block of neighbours."""
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    return (shape[0], shape[1], 1) if len(shape) == 2 else (1, math.prod(shape), 1)


def _share(query: int, budget: int) -> float:
    """The paper's schedule (its supplement B.2) stretched to the budget: windows shrink by halves."""
    reached = 10_000 * query / budget
    halvings = sum(reached > bound for bound in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000))
    return float(0.5**halvings)
