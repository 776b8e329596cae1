"""Units that were constant on everything tried, and that inputs of the ball might wake.

An ascent follows the gradient at each element by itself, so it misses a unit that would change the answer if nearly all
elements moved together, where other units weigh more at some of them. Here each such unit is driven by itself.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tritguard.attack.apgd import ascend
from tritguard.attack.base import Ball, Best, Queries, Target
from tritguard.attack.gradient import Gradients
from tritguard.attack.smoothed import RelaxedView, Watching
from tritguard.attack.view import GradientView, range_of
from tritguard.predictor import Int8

_UNITS = 8  # the most units, those that the ball moves farthest past the point at which they wake
_SEEN = 24  # samples, clean and attacked, on which units have to sleep
_HALF = 0.5  # the steps by which a unit has to leave the end of its range

Unit = tuple[int, int, int]  # a tensor, the place of an element in it, and 1 or -1: which way it wakes


def find_sleepers(target: Target, view: RelaxedView, seen: Int8) -> list[Unit]:
    """The elements of layers that are at the same end of their range for all inputs seen, and might leave it.

    Args:
        target: the attacked model.
        view: its relaxed view, whose widths say how far the ball moves a layer.
        seen: int8[n, *input_shape], the inputs.
    """
    assert isinstance(target.view, GradientView)
    graph = target.view.graph
    found: list[tuple[float, Unit]] = []
    values = Watching(graph).run(seen)
    for op in graph.ops:
        if op.output not in values or op.output not in view.widths:
            continue
        smooth, exact = (each.reshape(len(seen), -1) for each in values[op.output])
        width = view.widths[op.output].ravel()
        for way, end in zip((1, -1), range_of(op), strict=True):
            beyond = way * (smooth.mean(axis=0) - end) + width
            asleep = (exact == end).all(axis=0) & (beyond > _HALF)
            places = np.flatnonzero(asleep)
            best = places[np.argsort(-beyond[places])][:_UNITS]
            found += [(float(beyond[place]), (op.output, int(place), way)) for place in best]
    found.sort(key=lambda pair: -pair[0])
    return [unit for _, unit in found[:_UNITS]]


def wake(target: Target, ball: Ball, view: RelaxedView, queries: Queries, best: Best, *, steps: int) -> int:
    """Drive each unit that sleeps as far as one gradient leads in the ball, and search from there.

    Args:
        target: the attacked model and the samples.
        ball: what the attack may use.
        view: the model's relaxed view for the ball.
        queries: asks the model.
        best: the best inputs so far, which are improved.
        steps: gradients per sample of the search afterwards.

    Returns:
        The number of gradients taken.
    """
    active = np.flatnonzero(best.margins > 0)
    if active.size == 0:
        return 0
    clean = target.x[active]
    units = find_sleepers(target, view, np.concatenate([clean[:_SEEN], best.x[active[:_SEEN]]]))
    taken = len(units) * len(clean)
    if units:
        slopes = view.slopes(clean.astype(np.float32), [(tensor, place) for tensor, place, _ in units])
        for (_, _, way), slope in zip(units, slopes, strict=True):
            towards = ball.geometry.steepest(way * slope.astype(np.float64))
            x = ball.to_grid(clean + ball.eps * towards, clean)
            best.take(x, queries.margins(x, active), active)
        gradients = Gradients(target, "margin")
        rng = np.random.default_rng((target.seed, ball.eps))
        ascend(replace(target, starts=best.x), ball, gradients, queries, best, steps=steps, rng=rng)
        taken += gradients.taken
    return taken
