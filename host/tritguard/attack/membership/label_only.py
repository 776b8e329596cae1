"""Membership by label only: members keep their label under noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tritguard.graph.arithmetic.fixed_point import INT8_MAX, INT8_MIN
from tritguard.predictor import Int8, Predictor


def label_robustness(
    predictor: Predictor, x: Int8, y: NDArray[np.int64], *, tries: int, largest: int, seed: int
) -> NDArray[np.float64]:
    """How often the label stays right under noise (Choquette-Choo et al. 2021, 2007.14321, section 3.3).

    Gaussian noise of rising width is added on the int8 grid. Whether the clean sample is right (the gap attack) counts
    as much as all noisy copies together.

    Threat model: the device shows labels only; `tries` + 1 queries per sample.

    Args:
        predictor: the model, of which only labels are used.
        x: int8[n, *input_shape], the samples.
        y: int64[n], true labels.
        tries: the number of noisy copies of each sample.
        largest: the standard deviation of the widest noise, in int8 steps.
        seed: the seed of the noise.

    Returns:
        float64[n] from 0 to 2; the higher, the likelier the sample is a member.
    """
    rng = np.random.default_rng(seed)
    kept = np.zeros(len(x))
    for width in np.linspace(largest / tries, largest, tries):
        noisy = np.clip(np.rint(x + rng.normal(0, width, x.shape)), INT8_MIN, INT8_MAX).astype(np.int8)
        kept += predictor.predict(noisy).labels == y
    return np.asarray((predictor.predict(x).labels == y) + kept / tries)
