"""Layers whose trits a kernel of their own reads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tritguard.emit.code import Array, Fields, LayerCode, Struct
from tritguard.emit.lower.context import Context
from tritguard.graph.formats.base3 import Base3Dual
from tritguard.graph.formats.dual import NO_CHANNEL, DualWords
from tritguard.graph.formats.lists import SparseLists, StepLists
from tritguard.graph.formats.narrow import is_narrow
from tritguard.graph.formats.taps import TapLists
from tritguard.graph.model import DepthwiseConv2D, Weighted

_CHANNEL = np.dtype([("bias", "i4"), ("multiplier", "i4"), ("channel", "i2"), ("magnitude", "u1"), ("shift", "i1")])


def dual(context: Context, position: int, op: Weighted, packed: DualWords, window: Fields) -> LayerCode:
    """Dual-channel words."""
    trits = Array("trits", packed.words.ravel())
    lanes = _lanes(context, position, op, packed)
    fields = _dual_fields(op, packed, window, f"{op.symbol}_{trits.name}")
    return context.weighted(position, op, (trits, lanes), Struct("tg_dual_t", fields))


def base3_dual(context: Context, position: int, op: Weighted, packed: Base3Dual, window: Fields) -> LayerCode:
    """Dual-channel words in base 3."""
    words = Array("packed", packed.packed)
    fields: Fields = {
        "dual": _dual_fields(op, packed.dual, window, "NULL"),
        "packed": f"{op.symbol}_{words.name}",
        "group": packed.group,
        "decoded_bytes": packed.decoded_bytes,
    }
    lanes = _lanes(context, position, op, packed.dual)
    return context.weighted(position, op, (words, lanes), Struct("tg_dual_base3_t", fields))


def _dual_fields(op: Weighted, packed: DualWords, window: Fields, trits: str) -> Fields:
    return {
        "window": window,
        "trits": trits,
        "lanes": f"{op.symbol}_lanes",
        "pairs": len(packed.channels),
        "words": packed.pair_words,
        "block_words": packed.block_words,
        "segment_words": packed.segment_words,
        "in_zero_point": op.input_zero_point,
        "scale": _scale_fields(op),
    }


def _lanes(context: Context, position: int, op: Weighted, packed: DualWords) -> Array:
    return Array("lanes", _channels(op, context.kernel(position).bias, packed.lanes()), "tg_trit_channel_t")


def taps(context: Context, position: int, op: DepthwiseConv2D, packed: TapLists, window: Fields) -> LayerCode:
    """Lists of taps over planes."""
    symbol = op.symbol
    fields: Fields = {
        "window": window,
        "trits": f"{symbol}_trits",
        "channels": f"{symbol}_channels",
        "offsets": f"{symbol}_offsets",
        "taps": len(packed.offsets),
        "depth_multiplier": op.depth_multiplier,
        "pitch": packed.pitch,
        "phase_bytes": packed.phase_bytes,
        "plane_bytes": packed.plane_bytes,
        "strip_rows": packed.strip_rows,
        "strip_positions": packed.strip_positions,
        "in_zero_point": op.input_zero_point,
        "scale": _scale_fields(op),
    }
    channels = _channels(op, context.kernel(position).bias, np.arange(packed.channels, dtype=np.int32))
    arrays = (
        Array("trits", packed.trits),
        Array("channels", channels, "tg_trit_channel_t"),
        Array("offsets", packed.offsets),
    )
    return context.weighted(position, op, arrays, Struct("tg_depthwise_taps_t", fields))


def steps(context: Context, position: int, op: Weighted, packed: StepLists, window: Fields) -> LayerCode:
    """Sparse lists over planes of bytes."""
    symbol = op.symbol
    fields: Fields = {
        "window": window,
        "lists": f"{symbol}_lists",
        "channels": f"{symbol}_channels",
        "pitch": packed.pitch,
        "plane_bytes": packed.plane_bytes,
        "unit_bytes": packed.unit_bytes,
        "band_rows": packed.band_rows,
        "band_input_rows": packed.band_input_rows,
        "in_zero_point": op.input_zero_point,
        "scale": _scale_fields(op),
    }
    channels = _channels(op, context.kernel(position).bias, np.arange(packed.channels, dtype=np.int32))
    arrays = (Array("lists", packed.lists), Array("channels", channels, "tg_trit_channel_t"))
    return context.weighted(position, op, arrays, Struct("tg_conv2d_steps_t", fields))


def lists(context: Context, position: int, op: Weighted, packed: SparseLists, window: Fields) -> LayerCode:
    """Sparse lists."""
    symbol = op.symbol
    fields: Fields = {
        "window": window,
        "lists": f"{symbol}_lists",
        "channels": f"{symbol}_channels",
        "pitch": packed.pitch,
        "half": packed.half,
        "plane_words": packed.plane_words,
        "unit_bytes": 4 * packed.unit_words,
        "band_rows": packed.band_rows,
        "band_input_rows": packed.band_input_rows,
        "in_zero_point": op.input_zero_point,
        "scale": _scale_fields(op),
    }
    channels = _channels(op, context.kernel(position).bias, np.arange(len(packed.surplus), dtype=np.int32))
    arrays = (Array("lists", packed.lists), Array("channels", channels, "tg_trit_channel_t"))
    return context.weighted(position, op, arrays, Struct("tg_conv2d_lists_t", fields))


def _scale_fields(op: Weighted) -> dict[str, int]:
    return {
        "zero_point": op.requant.zero_point,
        "act_min": op.requant.act_min,
        "act_max": op.requant.act_max,
        "narrow": int(is_narrow(op)),
    }


def _channels(op: Weighted, bias: NDArray[np.int32], order: NDArray[np.int32]) -> NDArray[np.void]:
    """`tg_trit_channel_t` of channels in the order a kernel computes them."""
    records = np.zeros(len(order), dtype=_CHANNEL)
    records["channel"] = order
    real = order != NO_CHANNEL
    channels = order[real]
    others = tuple(axis for axis in range(op.weights.ndim) if axis != op.channel_axis)
    records["bias"][real] = bias[channels]
    records["multiplier"][real] = op.requant.multiplier[channels]
    records["shift"][real] = op.requant.shift[channels]
    records["magnitude"][real] = np.abs(op.weights.astype(np.int16)).max(axis=others)[channels]
    return records
