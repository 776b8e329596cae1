"""Proves where the device may rescale in few instructions, with `tg_scale_narrow` of firmware/kernels/tg_fixed.h.

Its conditions have to hold for every input that a model can get.
"""

from __future__ import annotations

import numpy as np

from tritguard.graph.model import Requant, Weighted

_LARGEST_RIGHT_SHIFT = 22
_SUM_LIMIT = 1 << 30


def is_narrow(op: Weighted) -> bool:
    """Whether `tg_scale_narrow` gives the bytes of `tg_multiply` for every possible sum of every channel."""
    others = tuple(axis for axis in range(op.weights.ndim) if axis != op.channel_axis)
    wide = op.weights.astype(np.int64)
    low, high = -128 - op.input_zero_point, 127 - op.input_zero_point
    greatest = np.maximum(wide * low, wide * high).sum(axis=others) + op.bias
    least = np.minimum(wide * low, wide * high).sum(axis=others) + op.bias
    return is_narrow_rescaling(op.requant) and bool(np.all((greatest < _SUM_LIMIT) & (least > -_SUM_LIMIT)))


def is_narrow_rescaling(requant: Requant) -> bool:
    """Whether the scales allow `tg_scale_narrow`, provided that the magnitudes of the sums are below 2^30."""
    right = -requant.shift
    first = 0 if requant.act_min >= requant.zero_point else 1
    return bool(np.all((right >= first) & (right <= _LARGEST_RIGHT_SHIFT)))
