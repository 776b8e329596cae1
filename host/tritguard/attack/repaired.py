"""An attack for networks whose gradients lead nowhere: ascents on repaired views of them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import product

import numpy as np
from typing_extensions import override

from tritguard.attack.apgd import aims, ascend
from tritguard.attack.base import Attack, Ball, Best, Crafted, Kind, Queries, Target
from tritguard.attack.front import Front, climb, find_front
from tritguard.attack.gradient import Gradients, Loss
from tritguard.attack.sleepers import wake
from tritguard.attack.smoothed import RelaxedView, relaxed, smoothed
from tritguard.attack.view import GradientView
from tritguard.predictor import Int8

# How far a layer is driven, in multiples of what random inputs of the ball do. At 1, elements that they do not change
# have no gradient; at 4, those of these elements that a clamp holds let gradients pass.
REACHES = (1.0, 4.0)
_LOSSES: tuple[Loss, ...] = ("ce", "margin")
_SMOOTH_CLIMBS = 4
_AIMS = 9  # classes that ascents on the wide view aim at
_AIMED = 4  # these ascents have a fourth of the steps of others: where all is smooth, a few steps lead to a corner
_CLASSES = 4  # the fewest classes that the targeted loss can be computed for


class Repaired(Attack):
    """APGD (Croce and Hein 2020, 2003.01690) on smoothed views, see `SmoothedView`, and on the plain one.

    Each view is ascended on the cross-entropy and on the margin. Every second ascent starts from the results of other
    attacks (`Target.starts`), the others at random. The deployed model is asked after every step, as in `Apgd`.

    A unit may be constant on everything that random inputs and other gradients reach, and wake only where nearly all
    elements move together. A third view is therefore relaxed over the width of the whole ball (`RelaxedView`). It is
    ascended towards one wrong class after another, since a loss that looks at the likeliest rival alone does not see
    what such a unit feeds. Then each unit that still sleeps is driven by itself (`sleepers`).

    A network behind functions of single values is searched through their tables as well: once along the gradients of
    the network behind, and four times along smoothed ones, with twice the steps; see `find_front`.

    Threat model: white box, with one query of the deployed model per gradient.

    Args:
        around: int8[samples, *input_shape], samples around which the views are smoothed.
        steps: gradients per sample, view and loss.
    """

    name = "Repaired gradients"
    kind: Kind = "white box"
    follows = "gradients and answers"

    def __init__(self, around: Int8, steps: int) -> None:
        self.around = around
        self.steps = steps

    @property
    @override
    def parameters(self) -> dict[str, float | int | str]:
        return {
            "steps": self.steps,
            "losses": ", ".join(_LOSSES),
            "smoothed by": ", ".join(f"{reach:g}" for reach in REACHES) + ", the whole ball",
            "around": hashlib.sha256(self.around.tobytes()).hexdigest()[:8],
            "implementation": "tritguard",
        }

    @property
    @override
    def starts(self) -> int:
        return len(REACHES) * len(_LOSSES) + 1

    @override
    def craft(self, target: Target, ball: Ball) -> Crafted:
        rng = np.random.default_rng((target.seed, ball.eps))
        queries, best, taken = Queries(target), Best(target), 0
        best.take(target.x, queries.margins(target.x))
        repaired = [replace(target, view=view) for view in repaired_views(target, self.around, ball)]
        for number, (loss, source) in enumerate([*product(_LOSSES, repaired), (_LOSSES[-1], target)]):
            gradients = Gradients(source, loss)
            begun = target if number % 2 == 0 else replace(target, starts=None)
            ascend(begun, ball, gradients, queries, best, steps=self.steps, rng=rng)
            taken += gradients.taken
        view = wide_view(target, self.around, ball)
        wide = replace(target, view=view, starts=None)
        towards = Gradients(wide, "dlr targeted" if view.classes >= _CLASSES else "margin")
        for aim in aims(target, _AIMS):
            ascend(wide, ball, towards, queries, best, steps=-(-self.steps // _AIMED), rng=rng, aim=aim)
        taken += towards.taken + wake(target, ball, view, queries, best, steps=self.steps)
        if (front := front_of(target)) is not None:
            for behind in (front.rest, *[front.smoothed(self.around, ball)] * _SMOOTH_CLIMBS):
                taken += climb(target, ball, front, behind, queries, best, steps=2 * self.steps, rng=rng)
        return Crafted(best.x, queries.made, taken)


def repaired_views(target: Target, around: Int8, ball: Ball) -> list[GradientView]:
    """The repaired views of a target for a ball, smoothed around some samples."""
    assert isinstance(target.view, GradientView)
    return [smoothed(target.view, around.tobytes(), ball, reach) for reach in REACHES]


def wide_view(target: Target, around: Int8, ball: Ball) -> RelaxedView:
    """The view relaxed over the whole ball, in which a sum of n elements moves sqrt(n) times farther than at random."""
    assert isinstance(target.view, GradientView)
    return relaxed(target.view, around.tobytes(), ball, float(np.sqrt(target.x[0].size)))


def front_of(target: Target) -> Front | None:
    """The front of a target's network."""
    return find_front(target.view) if isinstance(target.view, GradientView) else None
