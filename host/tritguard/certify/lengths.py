"""Bounds of an L2 normalization: a row divided by its length.

An output is 128 * x / sqrt(x^2 + r), rounded, where r is the sum of the other elements' squares: it rises with x, and r
brings it closer to 0. TFLM's inverse root is off by less than 2^-24 of it. Its two roundings are off by half a step
and by what the first one loses, a quarter of a step at most where anything is shifted right: `SLACK`.
"""

from __future__ import annotations

import numpy as np

from tritguard.certify.box import Box
from tritguard.graph.model import Float64, Int64, L2Normalization

SLACK = 0.26
_STEPS = 128


def bounds(op: L2Normalization, source: Box) -> Box:
    """What the outputs can be where the inputs are in a box, both of any shape."""
    shape, n = source.low.shape, len(source.low)
    low, high = (
        bound.reshape(n, op.rows, -1).astype(np.int64) - op.input_zero_point for bound in (source.low, source.high)
    )
    most = np.maximum(low**2, high**2)
    least = np.where((low <= 0) & (high >= 0), 0, np.minimum(low**2, high**2))
    far, near = (each.sum(axis=2, keepdims=True) - each for each in (most, least))
    lowest = _share(low, np.where(low >= 0, far, near))
    highest = _share(high, np.where(high >= 0, near, far))
    outputs = [np.floor(_STEPS * lowest + 0.5 - SLACK), np.ceil(_STEPS * highest - 0.5 + SLACK)]
    return Box(*(np.clip(each, -128, 127).astype(np.int64).reshape(shape) for each in outputs))


def _share(own: Int64, others: Int64) -> Float64:
    """float64: own / sqrt(own^2 + others), 0 where both are 0."""
    return np.asarray(own / np.sqrt(np.maximum(own**2 + others, 1)), np.float64)
