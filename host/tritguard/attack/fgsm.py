"""Fast gradient sign method."""

from __future__ import annotations

import numpy as np
from typing_extensions import override

from tritguard.attack.art_view import batch_size, estimator, evasion, one_hot
from tritguard.attack.base import Attack, Ball, Crafted, Kind, Target


class Fgsm(Attack):
    """One step along the gradient's sign (Goodfellow et al. 2015, 1412.6572), through ART.

    Threat model: white box; one gradient per sample and no query. The step is as long as the ball's radius.
    """

    name = "FGSM"
    kind: Kind = "white box"
    follows = "one gradient"

    @property
    @override
    def parameters(self) -> dict[str, float | int | str]:
        return {"implementation": "ART FastGradientMethod"}

    @override
    def craft(self, target: Target, ball: Ball) -> Crafted:
        attack = evasion().FastGradientMethod(
            estimator(target, ball),
            norm=ball.geometry.order,
            eps=float(ball.eps),
            targeted=target.aim is not None,
            batch_size=batch_size(target),
        )
        found = attack.generate(target.x.astype(np.float32), y=one_hot(target))
        return Crafted(ball.to_grid(found, target.x), queries=0, gradients=len(target.x))
