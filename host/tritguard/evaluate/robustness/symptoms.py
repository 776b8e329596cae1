"""What a model shows that hides its gradients or its scores; measured on clean samples."""

from __future__ import annotations

import numpy as np

from tritguard.attack import Ball, Target
from tritguard.attack.base import Access
from tritguard.attack.view import GradientView
from tritguard.evaluate.samples import differing
from tritguard.graph.model import Softmax
from tritguard.predictor import Int8, Outputs, Predictor

_DRAWS = 4  # small changes tried a sample


def shown(target: Target) -> Access:
    """What black-box attacks see of the outputs: int8 scores where logits are asked for and the model has none."""
    if target.access == "logits" and target.predictor.predict(target.x[:1]).logits is None:
        return "scores"
    return target.access


def softmax_head(target: Target) -> bool:
    """Whether the int8 scores come out of a softmax."""
    return isinstance(target.view, GradientView) and isinstance(target.view.graph.ops[-1], Softmax)


def plateaus(target: Target, eps: int) -> float | None:
    """Share of the samples whose margin stays exactly the same at random corners of a Linf ball; None for labels."""
    if target.access == "labels":
        return None
    rng, ball = np.random.default_rng((target.seed, eps)), Ball("Linf", eps)
    before = target.margins(target.predictor.predict(target.x))
    flat, clean = np.ones(len(target.x), bool), target.x.astype(np.float64)
    for _ in range(_DRAWS):
        moved = clean + ball.geometry.to_edge(rng, clean, eps)
        flat &= target.margins(target.predictor.predict(ball.to_grid(moved, target.x))) == before
    return float(flat.mean())


def unsteady(predictor: Predictor, x: Int8, earlier: Outputs) -> int:
    """Of inputs int8[n, *input_shape], how many now give other outputs than earlier."""
    return differing(predictor.predict(x), earlier)
