"""Fast gradient sign method."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tritguard.attack.art_view import NORMS, batch_size, estimator, evasion, one_hot
from tritguard.attack.base import Ball, Crafted, Kind, Target


class Fgsm:
    """One step along the gradient's sign (Goodfellow et al. 2015, 1412.6572), through ART.

    Threat model: white box; one gradient a sample and no query. The step is the ball's radius, in int8 steps.
    """

    name = "FGSM"
    kind: Kind = "white box"
    parameters: ClassVar[dict[str, float | int | str]] = {"implementation": "ART FastGradientMethod"}

    def craft(self, target: Target, ball: Ball) -> Crafted:
        """See Attack."""
        attack = evasion().FastGradientMethod(
            estimator(target),
            norm=NORMS[ball.norm],
            eps=float(ball.eps),
            targeted=target.aim is not None,
            batch_size=batch_size(target),
        )
        found = attack.generate(target.x.astype(np.float32), y=one_hot(target))
        return Crafted(ball.to_grid(found, target.x), queries=0, gradients=len(target.x))
