"""Random noise: the baseline that every attack has to beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.base import INT8_MAX, INT8_MIN, Ball, Best, Crafted, Kind, Queries, Target


class Noise:
    """Random moves to the edge of the ball; the try that gets the deployed model furthest is kept.

    Linf: to a random corner, +-eps an element. L2: in a random direction, at the full radius.

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
        to_edge = _to_corner if ball.norm == "Linf" else _to_sphere
        for _ in range(self.tries):
            x = ball.to_grid(clean + to_edge(rng, clean, ball.eps), target.x)
            best.take(x, queries.margins(x))
        return Crafted(best.x, queries.made, gradients=0)


def _to_corner(rng: np.random.Generator, clean: NDArray[np.float64], eps: int) -> NDArray[np.float64]:
    return rng.choice([-float(eps), float(eps)], clean.shape)


def _to_sphere(rng: np.random.Generator, clean: NDArray[np.float64], eps: int) -> NDArray[np.float64]:
    """Moves of length eps; elements that would leave the range of int8 go the other way, or the length would shrink."""
    moved = rng.standard_normal(clean.shape)
    length = np.sqrt((moved.reshape(len(moved), -1) ** 2).sum(axis=1)).reshape(-1, *[1] * (moved.ndim - 1))
    moved *= eps / length
    beyond = np.clip(clean + moved, INT8_MIN, INT8_MAX) != clean + moved
    return np.where(beyond, -moved, moved)
