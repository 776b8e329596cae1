"""Random noise: the baseline that every attack has to beat."""

from __future__ import annotations

import numpy as np

from tritguard.attack.base import Ball, Best, Crafted, Kind, Queries, Target


class Noise:
    """Uniform choices of +-eps a pixel; the try that gets the deployed model furthest is kept.

    Threat model: the device's outputs; knows nothing of the model. The baseline of every other attack.

    Args:
        tries: forward passes a sample.
    """

    name = "Noise"
    kind: Kind = "baseline"

    def __init__(self, tries: int = 10) -> None:
        self.tries = tries
        self.queries = tries

    @property
    def parameters(self) -> dict[str, float | int | str]:
        """See Attack."""
        return {"tries": self.tries, "implementation": "tritguard"}

    def craft(self, target: Target, ball: Ball) -> Crafted:
        """See Attack."""
        rng = np.random.default_rng((target.seed, ball.eps))
        queries, best = Queries(target), Best(target)
        clean = target.x.astype(np.float64)
        # A random corner of the Linf ball; of the L2 ball, a random direction at its full radius.
        size = ball.eps if ball.norm == "Linf" else ball.eps / np.sqrt(clean[0].size)
        for _ in range(self.tries):
            x = ball.to_grid(clean + rng.choice([-size, size], clean.shape), target.x)
            best.take(x, queries.margins(x))
        return Crafted(best.x, queries.made, gradients=0)
