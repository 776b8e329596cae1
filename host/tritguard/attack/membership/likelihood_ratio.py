"""Membership by likelihood ratio: models are more confident about members than models that never saw them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def scaled_confidence(logits: Float64, y: NDArray[np.int64]) -> Float64:
    """float64[n]: log(p / (1 - p)) of the true class, which is nearly normal over models, unlike p itself."""
    rows = np.arange(len(y))
    others = logits.copy()
    others[rows, y] = -np.inf
    highest = others.max(axis=1)
    return np.asarray(logits[rows, y] - highest - np.log(np.exp(others - highest[:, None]).sum(axis=1)))


def likelihood_ratio(target: Float64, shadows: Float64, seen: NDArray[np.bool_]) -> Float64:
    """Offline LiRA (Carlini et al. 2022, 2112.03570, algorithm 1 without its IN models).

    Each sample's confidence is compared with that of the shadow models that were not trained on it. Their mean is taken
    for each sample and their variance over all samples, which is the better estimate with fewer than about 64 shadow
    models per sample (section VI-C). The score grows with the probability that a model which never saw the sample is
    less confident than the target.

    Threat model: the attacker has the sample, its label, the model's outputs and data like the training data, and can
    train models in the same way; one query per sample.

    Args:
        target: float64[n], `scaled_confidence` of the attacked model.
        shadows: float64[models, n], `scaled_confidence` of the shadow models.
        seen: bool[models, n], whether a shadow model was trained on a sample.

    Returns:
        float64[n]; the higher, the likelier the sample is a member. NaN for a sample that every shadow model has seen.
    """
    unseen = ~seen
    count = unseen.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(unseen, shadows, 0).sum(axis=0) / count
    spread = np.where(unseen, shadows - mean, 0)
    freedom = max(1, int((count - 1)[count > 0].sum()))
    deviation = np.sqrt((spread[:, count > 0] ** 2).sum() / freedom)
    return np.asarray((target - mean) / max(float(deviation), 1e-12))
