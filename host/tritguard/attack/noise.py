"""Random noise, the baseline that every attack has to beat."""

from __future__ import annotations

import numpy as np
from typing_extensions import override

from tritguard.attack.base import Asking, Ball, Best, Crafted, Kind, Queries, Target


class Noise(Asking):
    """Random moves to the edge of the ball; the one that comes nearest to the attacker's goal is kept.

    Threat model: the attacker sees the device's outputs and knows nothing of the model.

    Args:
        tries: forward passes per sample.
    """

    name = "Noise"
    kind: Kind = "baseline"

    def __init__(self, tries: int = 10) -> None:
        self.tries = tries
        self.queries = tries

    @property
    @override
    def parameters(self) -> dict[str, float | int | str]:
        return {"tries": self.tries, "implementation": "tritguard"}

    @override
    def craft(self, target: Target, ball: Ball) -> Crafted:
        rng = np.random.default_rng((target.seed, ball.eps))
        queries, best = Queries(target), Best(target)
        clean = target.x.astype(np.float64)
        for _ in range(self.tries):
            x = ball.to_grid(clean + ball.geometry.to_edge(rng, clean, ball.eps), target.x)
            best.take(x, queries.margins(x))
        return Crafted(best.x, queries.made, gradients=0)
