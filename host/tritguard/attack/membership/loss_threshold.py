"""Membership by loss: members have a lower loss."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def loss_score(logits: NDArray[np.float64], y: NDArray[np.int64]) -> NDArray[np.float64]:
    """Minus the cross-entropy of the true class (Yeom et al. 2018, 1709.01604).

    Threat model: the attacker has the sample, its label and the model's outputs; one query per sample, no training.

    Args:
        logits: float64[n, classes], the model's logits.
        y: int64[n], true labels.

    Returns:
        float64[n]; the higher, the likelier the sample is a member.
    """
    highest = logits.max(axis=1)
    total = np.log(np.exp(logits - highest[:, None]).sum(axis=1))
    return np.asarray(logits[np.arange(len(y)), y] - highest - total)
