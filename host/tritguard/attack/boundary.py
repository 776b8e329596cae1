"""The Boundary attack: a random walk along the decision boundary, from labels alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.attack.arrays import column, euclidean
from tritguard.attack.base import Asking, Ball, Crafted, Kind, Places, Target
from tritguard.attack.decision import Float32, Frontier

_WINDOW = 10  # step sizes are adapted after this many steps, by the share of them that fooled the model
_GROW, _SHRINK = 1.5, 2 / 3


class Boundary(Asking):
    """The Boundary attack (Brendel et al. 2018, 1712.04248, algorithm 1), untargeted and targeted.

    Each step moves at random on the sphere around the clean input and then a little towards that input; a point that
    still fools the model is kept. Both step sizes adapt to how often this works, so that about half of the moves on the
    sphere fool the model.

    Threat model: black box, decision based: the attack sees labels only, so it does not matter how scores are rounded.
    The attacker holds inputs of its own to start from. As in the paper, the walk is Euclidean whatever the norm of the
    ball, which only decides how close is close enough; in a Linf ball HopSkipJump is the better choice. Distances are
    in int8 steps; no move is so small that it would round to nothing.

    This is our own implementation because ART's walks sample by sample, with calls of a few inputs each.

    Args:
        queries: the largest number of forward passes per sample; a sample fooled within the ball is not asked again.
        sphere: the first step on the sphere, as a share of the distance to the clean input.
        source: the first step towards the clean input, as a share of that distance.
    """

    name = "Boundary"
    kind: Kind = "black box"
    follows = "decisions"

    def __init__(self, queries: int = 1000, sphere: float = 0.1, source: float = 0.1) -> None:
        self.queries = queries
        self.sphere = sphere
        self.source = source

    @property
    @override
    def parameters(self) -> dict[str, float | int | str]:
        return {**vars(self), "implementation": "tritguard"}

    @override
    def craft(self, target: Target, ball: Ball) -> Crafted:
        rng = np.random.default_rng((target.seed, ball.eps))
        frontier = Frontier(target, ball, self.queries, rng)
        frontier.start()
        sphere, source = (np.full(len(target.x), size) for size in (self.sphere, self.source))
        on_sphere, nearer = np.zeros(len(target.x)), np.zeros(len(target.x))
        for step in range(1, self.queries + 1):
            active = frontier.active(2)
            if active.size == 0:
                break
            around = _around(frontier, active, sphere[active], rng)
            fools = frontier.ask(around, active)
            on_sphere[active] += fools
            near = active[fools]
            towards = around[fools] + column(source[near], around) * (frontier.clean[near] - around[fools])
            fools_near = frontier.ask(towards, near)
            nearer[near] += fools_near
            frontier.points[near] = np.where(column(fools_near, towards), towards, around[fools])
            if step % _WINDOW == 0:
                source *= np.where(nearer < 0.25 * on_sphere, _SHRINK, np.where(nearer > 0.5 * on_sphere, _GROW, 1))
                sphere *= np.where(on_sphere < 0.3 * _WINDOW, _SHRINK, np.where(on_sphere > 0.7 * _WINDOW, _GROW, 1))
                on_sphere[:], nearer[:] = 0, 0
        return frontier.crafted()


def _around(frontier: Frontier, samples: Places, share: NDArray[np.float64], rng: np.random.Generator) -> Float32:
    """The points moved at random on the spheres around their clean inputs, by a share of the distance."""
    away = frontier.points[samples] - frontier.clean[samples]
    radius = euclidean(away)
    move = rng.standard_normal(away.shape, np.float32)
    move -= column((move * away).reshape(len(away), -1).sum(axis=1) / np.maximum(radius, 1e-9) ** 2, away) * away
    move *= column(np.maximum(share * radius, 1) / np.maximum(euclidean(move), 1e-9), away)
    moved = away + move
    return np.asarray(
        frontier.clean[samples] + moved * column(radius / np.maximum(euclidean(moved), 1e-9), away), np.float32
    )
