"""Parts of kernels' parameter structs that several formats share."""

from __future__ import annotations

import numpy as np

from tritguard.graph.call import Constant, Parameters
from tritguard.graph.formats.narrow import is_narrow
from tritguard.graph.model import Int32, Weighted

NO_CHANNEL = -1
CHANNEL_BYTES = 3  # bytes of a `tg_trit_channel_t` that int8 does without: the magnitude and the channel's number
_CHANNEL = np.dtype([("bias", "i4"), ("multiplier", "i4"), ("channel", "i2"), ("magnitude", "u1"), ("shift", "i1")])


def weighted_fields(op: Weighted, bias: Int32, weights: Parameters) -> Parameters:
    """The fields of a `tg_weighted_t`: the packed weights, int32[channels] of bias, and the rescaling to int8."""
    return {
        **weights,
        "bias": bias,
        "in_zero_point": op.input_zero_point,
        "requant": {
            "multiplier": op.requant.multiplier,
            "shift": op.requant.shift.astype(np.int8),
            **trit_scale(op),
        },
    }


def trit_scale(op: Weighted) -> dict[str, int]:
    """The fields of a `tg_trit_scale_t`."""
    return {
        "zero_point": op.requant.zero_point,
        "act_min": op.requant.act_min,
        "act_max": op.requant.act_max,
        "narrow": int(is_narrow(op)),
    }


def trit_channels(op: Weighted, bias: Int32, order: Int32 | None = None) -> Constant:
    """An array of `tg_trit_channel_t`.

    Args:
        op: the layer.
        bias: int32[channels], what the kernel adds to its sums.
        order: int32[n], the channels in the order of the kernel, with NO_CHANNEL for none; by default 0, 1, 2, ...
    """
    order = np.arange(len(bias), dtype=np.int32) if order is None else order
    records = np.zeros(len(order), dtype=_CHANNEL)
    records["channel"] = order
    real = order != NO_CHANNEL
    channels = order[real]
    others = tuple(axis for axis in range(op.weights.ndim) if axis != op.channel_axis)
    records["bias"][real] = bias[channels]
    records["multiplier"][real] = op.requant.multiplier[channels]
    records["shift"][real] = op.requant.shift[channels]
    records["magnitude"][real] = np.abs(op.weights.astype(np.int16)).max(axis=others)[channels]
    return Constant(records, "tg_trit_channel_t")
