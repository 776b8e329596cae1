"""Square attack on the int8 grid."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.base import INT8_MAX, INT8_MIN, Crafted, Kind, Target, margins
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
        return {"queries": self.queries, "p_init": self.p_init, "sees": "logits", "implementation": "tritguard"}

    def craft(self, target: Target, eps: int) -> Crafted:
        """See Attack."""
        rng = np.random.default_rng((target.seed, eps))
        clean = target.x.astype(np.int16)
        height, width, channels = _as_image(clean.shape[1:])
        images = clean.reshape(-1, height, width, channels)
        low, high = np.maximum(images - eps, INT8_MIN), np.minimum(images + eps, INT8_MAX)

        stripes = rng.choice([-eps, eps], (len(images), 1, width, channels))
        best = np.clip(images + stripes, low, high)
        margin = self._margins(target, best, np.arange(len(images)))
        made = len(images)
        for query in range(1, self.queries):
            active = np.flatnonzero(margin > 0)
            if active.size == 0:
                break
            share = self.p_init * _share(query, self.queries)
            side = max(1, round(math.sqrt(share * height * width)))
            tried = best[active]
            for row, sample in enumerate(active):
                rows, columns = min(side, height), min(side, width)
                top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
                window = np.s_[top : top + rows, left : left + columns]
                shifted = images[sample][window] + rng.choice([-eps, eps], channels)
                tried[row][window] = np.clip(shifted, low[sample][window], high[sample][window])
            tried_margin = self._margins(target, tried, active)
            made += active.size
            better = tried_margin < margin[active]
            best[active[better]] = tried[better]
            margin[active[better]] = tried_margin[better]
        return Crafted(best.astype(np.int8).reshape(target.x.shape), queries=made, gradients=0)

    @staticmethod
    def _margins(target: Target, images: NDArray[np.int16], samples: NDArray[np.int64]) -> NDArray[np.float64]:
        x: Int8 = images.astype(np.int8).reshape(-1, *target.x.shape[1:])
        return margins(target.predictor.predict(x), target.y[samples])


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
