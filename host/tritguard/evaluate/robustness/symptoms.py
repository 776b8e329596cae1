"""Symptoms of a model that hides its gradients or its scores, measured on clean samples."""

from __future__ import annotations

import numpy as np

from tritguard.attack import Ball, Target
from tritguard.attack.base import Access
from tritguard.attack.view import GradientView
from tritguard.evaluate.samples import differing
from tritguard.graph.model import Softmax
from tritguard.predictor import Int8, Outputs, Predictor

_DRAWS = 4  # small changes that are tried on each sample


def shown(target: Target) -> Access:
    """Say what black-box attacks see of the outputs; that is int8 scores if logits are allowed and there are none."""
    if target.access == "logits" and target.predictor.predict(target.x[:1]).logits is None:
        return "scores"
    return target.access


def softmax_head(target: Target) -> bool:
    """Say whether the int8 scores come out of a softmax."""
    return isinstance(target.view, GradientView) and isinstance(target.view.graph.ops[-1], Softmax)


def plateaus(target: Target, eps: int) -> float | None:
    """Measure the share of samples whose margin is exactly the same at random corners of a Linf ball of `eps` steps.

    Returns:
        The share; None if the target shows labels alone.
    """
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
    """Count the inputs, of x int8[n, *input_shape], that now give other outputs than earlier."""
    return differing(predictor.predict(x), earlier)
