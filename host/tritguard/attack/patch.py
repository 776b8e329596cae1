"""The patch attack: the best place for a square, and what to paint into it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.attack.base import Attack, Ball, Best, Crafted, Kind, Places, Queries, Target, for_norm
from tritguard.attack.gradient import Gradients
from tritguard.attack.norms.patch import PATCHES, squares, window_sums
from tritguard.attack.windows import as_image

_FIRST, _LAST = 0.5, 1 / 64  # step sizes, as shares of the range of values
_MOMENTUM = 0.75

Float64 = NDArray[np.float64]


class PatchSearch(Attack):
    """For each sample, the places where a square is worth most, and a picture painted into it along gradients.

    One gradient says what a square could change at every place of the picture, were the model linear: each value in it
    moves to the end of its range that raises the loss. The most promising squares are tried like that, one query each.
    At those that bring the attacker nearest to its goal, ascent with momentum in the gradient's sign paints the square,
    with steps that fall from half of the range of values to a few steps of the grid, and asks the deployed model after
    each. That a patch has to be moved as well as painted is known from Karmon et al. 2018 (1801.02608) and Croce
    et al. 2022 (2006.12834); this search on the deployed integers is our own.

    Threat model: white box, with queries of the deployed model.

    Args:
        tried: the number of places that are tried with one query each; all, if there are fewer.
        places: the number of those at which the square is painted.
        steps: gradients for each of these places.
    """

    name = "Patch"
    kind: Kind = "white box"
    follows = "gradients and answers"  # the answers choose the places

    def __init__(self, tried: int = 1000, places: int = 4, steps: int = 25) -> None:
        self.tried = tried
        self.places = places
        self.steps = steps

    @property
    @override
    def parameters(self) -> dict[str, float | int | str]:
        return {**vars(self), "loss": "margin", "momentum": _MOMENTUM, "implementation": "tritguard"}

    @property
    @override
    def starts(self) -> int:
        return self.places

    @override
    def craft(self, target: Target, ball: Ball) -> Crafted:
        search = _Search(target, ball, Gradients(target, "margin"))
        search.best.take(target.x, search.queries.margins(target.x))
        if target.starts is not None:
            known = ball.to_grid(target.starts.astype(np.float64), target.x)
            search.best.take(known, search.queries.margins(known))
        everyone = np.arange(len(target.x))
        for chosen in search.places(self.tried, self.places).T:
            search.paint(everyone[search.best.margins > 0], chosen, self.steps)
        return Crafted(search.best.x, search.queries.made, search.gradients.taken)


class _Search:
    """The search for one target; a place is an upper left corner's number among all, allowed by the ball or not."""

    def __init__(self, target: Target, ball: Ball, gradients: Gradients) -> None:
        self.gradients, self.queries, self.best = gradients, Queries(target), Best(target)
        self._target, self._ball, self._norm = target, ball, for_norm(PATCHES, ball, PatchSearch.name)
        self._picture = as_image(target.x.shape[1:])
        self._allowed = self._norm.places(*self._picture[:2], ball.eps)
        self._clean = target.x.astype(np.float64)

    def places(self, tried: int, kept: int) -> Places:
        """int64[n, places]: for each sample the places of the best squares, the best first."""
        everyone = np.arange(len(self._clean))
        slopes = self.gradients(self._clean.astype(np.float32), everyone)[1].astype(np.float64)
        ends = np.where(slopes > 0, float(self._ball.high), float(self._ball.low))
        gains = (slopes * (ends - self._clean)).reshape(-1, *self._picture).sum(axis=3)
        promise = np.where(self._allowed, window_sums(gains, self._ball.eps), -np.inf).reshape(len(gains), -1)
        ranked = np.argsort(-promise, axis=1, kind="stable")[:, : min(tried, int(self._allowed.sum()))]
        margins = np.full(ranked.shape, np.inf)
        for place, chosen in enumerate(ranked.T):
            active = np.flatnonzero(self.best.margins > 0)
            if active.size == 0:
                break
            margins[active, place] = self._ask(np.where(self._inside(chosen[active]), ends[active], np.inf), active)
        return np.take_along_axis(ranked, np.argsort(margins, axis=1, kind="stable")[:, :kept], axis=1)

    def paint(self, active: Places, chosen: Places, steps: int) -> None:
        """Paint the squares at these places, one for each sample, on the samples that hold."""
        sizes = (self._ball.high - self._ball.low) * np.geomspace(_FIRST, _LAST, steps)
        x, velocity = self._clean.copy(), np.zeros_like(self._clean)
        for size in sizes:
            if active.size == 0:
                return
            slopes = self.gradients(x[active].astype(np.float32), active)[1].astype(np.float64)
            length = np.abs(slopes).reshape(len(active), -1).mean(axis=1).reshape(-1, *[1] * (slopes.ndim - 1))
            velocity[active] = _MOMENTUM * velocity[active] + slopes / np.maximum(length, 1e-12)
            inside = self._inside(chosen[active])
            x[active] = np.where(inside, self._ball.clip(x[active] + size * np.sign(velocity[active])), x[active])
            self._ask(np.where(inside, x[active], np.inf), active)
            active = active[self.best.margins[active] > 0]

    def _ask(self, painted: Float64, active: Places) -> Float64:
        """The margins of these samples' inputs, in which finite values of `painted` replace the clean ones."""
        clean = self._clean[active]
        x = self._ball.to_grid(np.where(np.isfinite(painted), painted, clean), self._target.x[active])
        margins = self.queries.margins(x, active)
        self.best.take(x, margins, active)
        return margins

    def _inside(self, chosen: Places) -> NDArray[np.bool_]:
        """bool[n, *input_shape]: true inside one square for each sample."""
        inside = squares(chosen, self._allowed.shape, self._picture[:2], self._ball.eps)
        wide = np.repeat(inside[..., None], self._picture[2], axis=3)
        return wide.reshape(len(chosen), *self._clean.shape[1:])
