"""Projected gradient descent."""

from __future__ import annotations

import numpy as np
from typing_extensions import override

from tritguard.attack.art_view import Loss, batch_size, estimator, evasion, one_hot
from tritguard.attack.base import Attack, Ball, Best, Crafted, Kind, Queries, Target


class Pgd(Attack):
    """Repeated small steps from random starts, projected into the ball (Madry et al. 2018, 1706.06083), through ART.

    Threat model: white box, with one query of the deployed model per restart. Lengths are in int8 steps.

    Args:
        steps: the number of steps of each descent; a step is 2.5 * eps / steps long.
        restarts: descents per sample; the result that comes nearest to the attacker's goal is kept.
        loss: `ce`, the cross-entropy, or `margin`, the largest other logit minus the true one, which never saturates.
    """

    name = "PGD"
    kind: Kind = "white box"
    follows = "gradients"

    def __init__(self, steps: int = 20, restarts: int = 1, loss: Loss = "ce") -> None:
        self.steps = steps
        self.restarts = restarts
        self.loss: Loss = loss

    @property
    @override
    def parameters(self) -> dict[str, float | int | str]:
        return {
            "steps": self.steps,
            "restarts": self.restarts,
            "loss": self.loss,
            "step": "2.5 * eps / steps",
            "implementation": "ART ProjectedGradientDescent",
        }

    @property
    @override
    def starts(self) -> int:
        return self.restarts

    @override
    def craft(self, target: Target, ball: Ball) -> Crafted:
        attack = evasion().ProjectedGradientDescent(
            estimator(target, ball, self.loss),
            norm=ball.geometry.order,
            eps=float(ball.eps),
            eps_step=2.5 * ball.eps / self.steps,
            max_iter=self.steps,
            targeted=target.aim is not None,
            num_random_init=1,
            batch_size=batch_size(target),
            verbose=False,
        )
        clean = target.x.astype(np.float32)
        queries, best = Queries(target), Best(target)
        for restart in range(self.restarts):
            np.random.seed((target.seed + restart) % 2**32)  # noqa: NPY002 - the generator ART draws starts from
            x = ball.to_grid(attack.generate(clean, y=one_hot(target)), target.x)
            best.take(x, queries.margins(x))
        return Crafted(best.x, queries.made, gradients=self.restarts * self.steps * len(clean))
