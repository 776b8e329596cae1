"""HopSkipJump: a walk along the decision boundary, from labels alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.attack.arrays import column
from tritguard.attack.base import Asking, Ball, Crafted, Kind, Places, Target
from tritguard.attack.decision import Float32, Frontier

_SHRINKS = 8  # how often a jump is halved at most until it lands on an input that fools the model
_SLACK = 20  # queries that a round needs besides its probes, for jumps and bisection


class HopSkipJump(Asking):
    """HopSkipJump (Chen et al. 2020, 1904.02144, algorithm 2), in any norm, untargeted and targeted.

    Each round starts on the decision boundary and estimates its normal from random probes, of which some fool the model
    and some do not. It jumps along the steepest step that the normal gives, less far in later rounds, and bisects back
    to the boundary, nearer to the clean input.

    Threat model: black box, decision based: the attack sees labels only, so it does not matter how scores are rounded.
    The attacker holds inputs of its own to start from. Distances and probes are in int8 steps.

    This is our own implementation because the paper's probes shrink to a hundredth of an int8 step on images, where all
    of them round to the same input. Here a probe moves each element by one step, up or down, and a round's probes go
    to the model in one call.

    Args:
        queries: the largest number of forward passes per sample; a sample fooled within the ball is not asked again.
        probes: the number of probes in the first round; round t has sqrt(t) times as many.
    """

    name = "HopSkipJump"
    kind: Kind = "black box"
    follows = "decisions"

    def __init__(self, queries: int = 1000, probes: int = 100) -> None:
        self.queries = queries
        self.probes = probes

    @property
    @override
    def parameters(self) -> dict[str, float | int | str]:
        return {**vars(self), "implementation": "tritguard"}

    @override
    def craft(self, target: Target, ball: Ball) -> Crafted:
        rng = np.random.default_rng((target.seed, ball.eps))
        frontier = Frontier(target, ball, self.queries, rng)
        frontier.start()
        for round_ in range(1, self.queries + 1):
            count = min(int(self.probes * np.sqrt(round_)), self.queries)
            active = frontier.active(count + _SLACK)
            if active.size == 0:
                break
            normal = _normal(frontier, active, count, rng)
            _jump(frontier, active, ball.geometry.steepest(normal), round_)
            frontier.to_edge(active)
        return frontier.crafted()


def _normal(frontier: Frontier, samples: Places, count: int, rng: np.random.Generator) -> Float32:
    """The direction of inputs that fool, of any length: the sum of probes weighted by their answers (equation 16)."""
    shape = frontier.clean.shape[1:]
    normal = np.empty((len(samples), *shape), np.float32)
    for place, sample in enumerate(samples):
        probes = 2 * rng.integers(0, 2, (count, *shape), np.int8) - 1
        fools = frontier.ask(frontier.points[sample] + probes, np.full(count, sample))
        weights = np.where(fools, 1.0, -1.0)
        weights -= weights.mean() if 0 < fools.sum() < count else 0
        normal[place] = np.tensordot(weights, probes, axes=1)
    return normal


def _jump(frontier: Frontier, samples: Places, direction: NDArray[np.floating], round_: int) -> None:
    """Move each point along its direction, by its distance over sqrt(round), halved until the result fools."""
    reach = frontier.lengths(samples) / np.sqrt(round_)
    pending = np.arange(len(samples))
    for _ in range(_SHRINKS):
        x = frontier.points[samples[pending]] + column(reach[pending], direction) * direction[pending]
        fools = frontier.ask(x, samples[pending])
        frontier.points[samples[pending[fools]]] = x[fools]
        pending = pending[~fools]
        reach /= 2
        if pending.size == 0:
            break
