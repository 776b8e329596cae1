"""Random noise: the baseline that every attack has to beat."""

from __future__ import annotations

import numpy as np

from tritguard.attack.base import INT8_MAX, INT8_MIN, Crafted, Kind, Target, margins


class Noise:
    """Uniform choices of +-eps a pixel; the try that gets the deployed model furthest is kept.

    Args:
        tries: forward passes a sample.
    """

    name = "Noise"
    kind: Kind = "baseline"

    def __init__(self, tries: int = 10) -> None:
        self.tries = tries

    @property
    def parameters(self) -> dict[str, float | int | str]:
        """See Attack."""
        return {"tries": self.tries, "implementation": "tritguard"}

    def craft(self, target: Target, eps: int) -> Crafted:
        """See Attack."""
        rng = np.random.default_rng((target.seed, eps))
        best, best_margin = target.x, np.full(len(target.x), np.inf)
        for _ in range(self.tries):
            shifted = target.x.astype(np.int16) + rng.choice(np.array([-eps, eps], dtype=np.int16), target.x.shape)
            x = np.clip(shifted, INT8_MIN, INT8_MAX).astype(np.int8)
            margin = margins(target.predictor.predict(x), target.y)
            better = margin < best_margin
            best = np.where(better.reshape(-1, *[1] * (x.ndim - 1)), x, best)
            best_margin = np.minimum(margin, best_margin)
        return Crafted(best, queries=self.tries * len(target.x), gradients=0)
