"""Carlini and Wagner's attacks, in which an optimiser looks for the smallest change that fools the model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.attack.adam import Adam
from tritguard.attack.arrays import column, euclidean
from tritguard.attack.base import Attack, Ball, Best, Crafted, Kind, Places, Queries, Target, for_norm
from tritguard.attack.gradient import Float32, Gradients

_TIGHTER = 0.9  # the next tau, as a share of the distance that was reached


class CarliniWagner(Attack):
    """C&W (Carlini and Wagner 2017, 1608.04644, sections VI.A and VI.C), on the straight-through view.

    In L2, Adam minimises ||delta||^2 + c * f in the tanh variable that keeps inputs in range, and c is found by
    bisection. In Linf, Adam minimises sum(max(|delta_i| - tau, 0)) + c * f, and tau shrinks as long as the attack
    succeeds: a sample that is fooled within tau moves on to the next tau at once, and is done when the grid has no
    smaller one. In both, f is the distance of the logits' margin from -kappa. Every iterate is put on the int8 grid and
    the deployed model is asked about it; an input that fools only the view does not count.

    This is our own implementation: on a float network ART's finds changes of the same size, but in a NumPy loop that
    takes ten times as long and never asks the deployed model.

    Threat model: white box, with one query of the deployed model per gradient; at most steps * searches of each.

    Args:
        steps: Adam's steps for each c (L2) or tau (Linf).
        searches: the number of values tried for c or tau.
        rate: Adam's step size: in the tanh variable for L2, as a share of eps for Linf.
        c: the first trade-off between distance and success.
        kappa: the confidence to reach, in units of the view's logits.
    """

    name = "C&W"
    kind: Kind = "white box"
    follows = "gradients"

    def __init__(
        self, steps: int = 100, searches: int = 5, rate: float = 0.02, c: float = 10.0, kappa: float = 0.0
    ) -> None:
        self.steps = steps
        self.searches = searches
        self.rate = rate
        self.c = c
        self.kappa = kappa

    @property
    @override
    def parameters(self) -> dict[str, float | int | str]:
        return {**vars(self), "implementation": "tritguard"}

    @override
    def craft(self, target: Target, ball: Ball) -> Crafted:
        search = _Search(target, ball, self.kappa)
        for_norm(SEARCHES, ball, self.name)(self, search)
        return Crafted(search.best.x, search.queries.made, search.gradients.taken)

    def _by_trade_off(self, search: _Search) -> None:
        n, ball = len(search.clean), search.ball
        half, middle = (ball.high - ball.low) / 2, (ball.high + ball.low) / 2
        low, high, c = np.zeros(n), np.full(n, np.inf), np.full(n, self.c)
        start = np.arctanh(np.clip((search.clean - middle) / half, -1 + 1e-6, 1 - 1e-6))
        everyone = np.arange(n)
        for _ in range(self.searches):
            w, adam = start.copy(), _adam(start.shape, self.rate)
            reached = np.zeros(n, bool)
            for _ in range(self.steps):
                inside = np.tanh(w)
                x = (middle + half * inside).astype(np.float32)
                reached |= search.ask(x, everyone)
                push = 2 * (x - search.clean) - column(c, x) * search.gradient(x, everyone)
                w -= adam.step(push * half * (1 - inside**2), everyone)
            high = np.where(reached, np.minimum(high, c), high)
            low = np.where(reached, low, np.maximum(low, c))
            c = np.where(np.isinf(high), 10 * c, (low + high) / 2)

    def _by_bound(self, search: _Search) -> None:
        tau = np.full(len(search.clean), float(search.ball.eps))
        x = search.clean.copy()
        for _ in range(self.searches):
            adam = _adam(x.shape, self.rate * search.ball.eps)
            active = np.flatnonzero(tau >= 1)
            if active.size == 0:
                break
            for _ in range(self.steps):
                search.ask(x[active], active)
                active = active[search.closest[active] > tau[active]]
                if active.size == 0:
                    break
                here = x[active]
                moved = here - search.clean[active]
                beyond = np.sign(moved) * (np.abs(moved) > column(tau[active], here))
                here = here - adam.step(beyond - self.c * search.gradient(here, active), active).astype(np.float32)
                x[active] = search.ball.clip(here)
            tau = np.where(search.closest <= tau, _TIGHTER * np.minimum(tau, search.closest), tau)


class _Search:
    """What both searches share: the loss, the deployed model and the closest success so far.

    Attributes:
        closest: float64[n], the distance of the closest success in steps; infinite where there is none yet.
    """

    def __init__(self, target: Target, ball: Ball, kappa: float) -> None:
        self.ball = ball
        self.clean = target.x.astype(np.float32)
        self.queries, self.best = Queries(target), Best(target)
        self.gradients = Gradients(target, "margin")
        self._kappa = kappa
        self._target = target
        self.closest = np.full(len(target.x), np.inf)

    def gradient(self, x: Float32, samples: Places) -> Float32:
        """The gradient of -f, scaled to length one per sample; zero where the margin is beyond kappa already."""
        losses, gradients = self.gradients(x, samples)
        lengths = np.maximum(euclidean(gradients), 1e-12)
        return np.asarray(gradients * column((losses < self._kappa) / lengths, x), np.float32)

    def ask(self, x: Float32, samples: Places) -> NDArray[np.bool_]:
        """bool[m]: where the deployed model is fooled within the ball. The closest input that fools it is kept."""
        clean = self._target.x[samples]
        on_grid = self.ball.to_grid(x, clean)
        margins = self.queries.margins(on_grid, samples)
        distance = self.ball.distances(on_grid, clean)
        fooled = margins <= 0
        closer = fooled & (distance < self.closest[samples])
        kept = samples[closer]
        self.closest[kept] = distance[closer]
        self.best.x[kept], self.best.margins[kept] = on_grid[closer], margins[closer]
        failing = np.isinf(self.closest[samples])
        self.best.take(on_grid[failing], margins[failing], samples[failing])
        return np.asarray(fooled)


def _adam(shape: tuple[int, ...], rate: float) -> Adam:
    """Adam with one step count per sample, because a sample takes part in a step with all of its elements."""
    return Adam(shape, rate, (shape[0], *[1] * (len(shape) - 1)))


SEARCHES: dict[str, Callable[[CarliniWagner, _Search], None]] = {
    "Linf": CarliniWagner._by_bound,
    "L2": CarliniWagner._by_trade_off,
}
