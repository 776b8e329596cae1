"""The Square attack on the int8 grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.attack.base import Asking, Ball, Best, Crafted, Kind, Places, Queries, Target, for_norm
from tritguard.attack.norms.patch import PATCHES
from tritguard.attack.square_l2 import L2Windows
from tritguard.attack.square_patch import PatchWindows
from tritguard.attack.windows import as_image, draw, sides
from tritguard.predictor import Int8

_HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # queries, out of 10,000


class Square(Asking):
    """Random search with windows of changed pixels (Andriushchenko et al. 2020, 1912.00049).

    Each query changes one window of the best input so far, and the change is kept if it brings the attacker nearer to
    its goal; windows shrink as queries are spent. In Linf every pixel of a window moves by eps, up or down by channel
    (section 3.2). In L2 the change of a window is made anew from two bumps, and takes over what a second window used of
    the radius (section 3.3). For patches the windows lie in the square, which moves too (see `PatchWindows`). In a
    targeted attack, the margin to the wanted class replaces the paper's cross-entropy, which needs all logits at once.

    Threat model: black box, score based: the attack sees the part of the outputs that `Target.access` names. Labels
    show nothing until one of them changes; with labels only it is no better than noise, and Boundary or HopSkipJump
    should be used.

    This is our own implementation because ART's draws one window for all samples, asks about every sample three times
    a step, and takes square inputs only, which feature maps such as 49 x 10 x 1 are not. Here windows are cut to the
    input's sides.

    Args:
        queries: the largest number of forward passes per sample; a sample that is broken is not asked again.
        p_init: the share of the input that the first windows cover.
    """

    name = "Square"
    kind: Kind = "black box"

    def __init__(self, queries: int = 300, p_init: float = 0.8) -> None:
        self.queries = queries
        self.p_init = p_init

    @property
    @override
    def parameters(self) -> dict[str, float | int | str]:
        return {"queries": self.queries, "p_init": self.p_init, "implementation": "tritguard"}

    @override
    def craft(self, target: Target, ball: Ball) -> Crafted:
        shape = as_image(target.x.shape[1:])
        images = target.x.reshape(-1, *shape)
        moves = for_norm(MOVES, ball, self.name)(images, ball, np.random.default_rng((target.seed, ball.eps)))
        queries, best = Queries(target), Best(target)
        best.take(target.x, queries.margins(target.x))
        if target.starts is not None:
            known = ball.to_grid(target.starts.astype(np.float64), target.x)
            best.take(known, queries.margins(known))
        for query in range(1, self.queries):
            active = np.flatnonzero(best.margins > 0)
            if active.size == 0:
                break
            if query == 1:
                tried = moves.start(active)
            else:
                share = self.p_init * _share(query - 1, self.queries)
                tried = moves.change(best.x[active].reshape(-1, *shape), active, share)
            x = tried.reshape(-1, *target.x.shape[1:])
            best.take(x, queries.margins(x, active), active)
        return Crafted(best.x, queries.made, gradients=0)


def _share(query: int, budget: int) -> float:
    """The share of the input that a window covers: the paper's schedule (supplement B.2), scaled to the budget."""
    reached = 10_000 * query / budget
    return float(0.5 ** sum(reached > bound for bound in _HALVED_AFTER))


class _Moves(Protocol):
    """What to try next: inputs int8[n, height, width, channels], in the ball, for these samples."""

    def start(self, samples: Places) -> Int8: ...

    def change(self, best: Int8, samples: Places, share: float) -> Int8:
        """The best inputs so far, each with one window changed that covers this share of it."""
        ...


class _LinfWindows:
    """Windows moved to the ball's corners (algorithm 2); a move that would change nothing is drawn again.

    Args:
        images: int8[n, height, width, channels], the clean inputs.
    """

    def __init__(self, images: Int8, ball: Ball, rng: np.random.Generator) -> None:
        wide = images.astype(np.int16)
        self._low = np.maximum(wide - ball.eps, ball.low).astype(np.int8)
        self._high = np.minimum(wide + ball.eps, ball.high).astype(np.int8)
        self._rng = rng

    def start(self, samples: Places) -> Int8:
        """Stripes one pixel wide, from top to bottom."""
        _, _, width, channels = self._low.shape
        return np.where(self._up((len(samples), 1, width, channels)), self._high[samples], self._low[samples])

    def change(self, best: Int8, samples: Places, share: float) -> Int8:
        """The best inputs so far, each with one window changed that covers this share of it."""
        height, width, channels = best.shape[1:]
        window = draw(self._rng, best.shape, sides(height, width, share))
        clean = (samples[:, None, None], *window[1:])
        old, low, high = best[window], self._low[clean], self._high[clean]
        new = np.where(self._up((len(best), 1, 1, channels)), high, low)
        while (same := (new == old).all(axis=(1, 2, 3))).any():
            new[same] = np.where(self._up((int(same.sum()), 1, 1, channels)), high[same], low[same])
        best[window] = new
        return best

    def _up(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        return self._rng.integers(0, 2, shape, dtype=np.int8).astype(bool)


# The moves by the norm they are made for.
MOVES: dict[str, Callable[[Int8, Ball, np.random.Generator], _Moves]] = {
    "Linf": _LinfWindows,
    "L2": L2Windows,
    **dict.fromkeys(PATCHES, PatchWindows),
}
