"""Which kernel runs a layer with weights on a class of cores, and what it asks for: its weights' layout and scratch.

The numbers of firmware/kernels/tg_core.h stand here a second time: a tile's pixels and the order of positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tritguard.graph.cost import Cost
from tritguard.graph.dual import DualWords
from tritguard.graph.lists import SparseLists
from tritguard.graph.model import Conv2D, DepthwiseConv2D, Graph, Int8, Int32, Weighted
from tritguard.graph.taps import TapLists
from tritguard.graph.ternary import TernaryWeights

WeightFormat = Literal["int8", "ternary2", "dual2", "taps2", "sparse"]
Order = Literal["any", "pixels", "tiles", "channels"]
TILE = 4
POSITIONS_A_GROUP = 4
_ORDER = (0, 2, 1, 3)
_LARGEST_RIGHT_SHIFT = 22


@dataclass(frozen=True, eq=False)
class Kernel:
    """A layer's kernel.

    Attributes:
        function: C name.
        source: the file of firmware/kernels that holds it.
        weight_format: how its weights lie in flash.
        weights: int8, flat, in the kernel's order; trits packed for it otherwise.
        bias: int32[channels], what the kernel adds to its sums.
        scratch_bytes: what it needs of the arena while it runs.
        order: how reading and writing follow one another, which says how far its output may lie over its input
            (`graph/access.py`). "pixels": output pixels in rows from the top, a pixel's input read until its last
            channel is written. "tiles": tiles of any number of such pixels, all input of a tile read before any of
            its output is written. "channels": all input of a channel, then all output of the channel of that number,
            each in the place of its input or elsewhere. "any": nothing is promised, the two never overlap.
        cost: what one run is expected to take.
    """

    function: str
    source: str
    weight_format: WeightFormat
    weights: Int8 | TernaryWeights | DualWords | TapLists | SparseLists
    bias: Int32
    cost: Cost
    scratch_bytes: int = 0
    order: Order = "any"


def int8_kernel(graph: Graph, op: Weighted, cost: Cost) -> Kernel:
    """Weights as they are, whatever they are."""
    if isinstance(op, DepthwiseConv2D):
        return Kernel("tg_depthwise_int8", "tg_depthwise.c", "int8", op.weights.ravel(), op.bias, cost, order="pixels")
    scratch = columns_bytes(graph, op)
    weights, bias = interleave(op.weights), folded_bias(op)
    return Kernel("tg_conv2d_int8", "tg_conv2d.c", "int8", weights, bias, cost, scratch, "tiles")


def interleave(weights: Int8) -> Int8:
    """int8[channels, ...] in the order of tg_core.h: two channels side by side, positions 0 2 1 3 of each four.

    Returns int8[ceil(channels / 2) * positions * 2], flat; what is padded is zero.
    """
    rows = weights.reshape(len(weights), -1)
    padded = np.pad(rows, ((0, len(rows) % 2), (0, -rows.shape[1] % POSITIONS_A_GROUP)))
    groups = padded.reshape(len(padded) // 2, 2, -1, POSITIONS_A_GROUP)[..., _ORDER]
    return np.ascontiguousarray(groups.transpose(0, 2, 3, 1)).ravel()


def folded_bias(op: Weighted) -> Int32:
    """int32[channels]: bias - zero point * sum of weights, wrapped as the device's sums are."""
    others = tuple(axis for axis in range(op.weights.ndim) if axis != op.channel_axis)
    sums = op.weights.astype(np.int64).sum(axis=others)
    return np.asarray(op.bias - op.input_zero_point * sums).astype(np.int32)


def columns_bytes(graph: Graph, op: Weighted) -> int:
    """Scratch of tg_columns.h for one tile of a convolution or fully connected layer."""
    depth = graph.tensors[op.inputs[0]].shape[-1] if isinstance(op, Conv2D) else op.weights.shape[1]
    positions = -(-(op.weights.size // len(op.bias)) // POSITIONS_A_GROUP) * POSITIONS_A_GROUP
    return positions * TILE * 2 + (depth if depth % POSITIONS_A_GROUP == 0 else positions * TILE)


def is_narrow(op: Weighted) -> bool:
    """Whether `tg_scale_narrow` gives `tg_multiply`'s bytes for every sum of every channel; its conditions there."""
    others = tuple(axis for axis in range(op.weights.ndim) if axis != op.channel_axis)
    wide = op.weights.astype(np.int64)
    low, high = -128 - op.input_zero_point, 127 - op.input_zero_point
    greatest = np.maximum(wide * low, wide * high).sum(axis=others) + op.bias
    least = np.minimum(wide * low, wide * high).sum(axis=others) + op.bias
    right = -op.requant.shift
    first = 0 if op.requant.act_min >= op.requant.zero_point else 1
    in_range = (right >= first) & (right <= _LARGEST_RIGHT_SHIFT)
    return bool(np.all(in_range & (greatest < 1 << 30) & (least > -(1 << 30))))
