"""Which kernel runs a layer with weights on a class of cores, and what it asks for: its weights' layout and scratch.

The numbers of firmware/kernels/tg_core.h stand here a second time: a tile's pixels and the order of positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tritguard.graph.formats.base3 import Base3Dual, Base3Rows
from tritguard.graph.formats.cost import Cost
from tritguard.graph.formats.dual import DualWords
from tritguard.graph.formats.lists import SparseLists, StepLists
from tritguard.graph.formats.taps import TapLists
from tritguard.graph.formats.ternary import TernaryWeights
from tritguard.graph.model import Add, Conv2D, DepthwiseConv2D, FullyConnected, Graph, Int8, Int32, Weighted

WeightFormat = Literal["int8", "ternary2", "dual2", "quad2", "taps2", "sparse", "base3"]
Order = Literal["any", "pixels", "tiles", "channels"]
TILE = 4
POSITIONS_A_GROUP = 4
_ORDER = (0, 2, 1, 3)
_ADD_TABLE_BYTES = 256 * 4
_BLOCK = 4
_CHANNELS_A_GROUP = 4
_PLANES_BYTES = 4096
_OUTPUT = "tg_output.c"


@dataclass(frozen=True, eq=False)
class Kernel:
    """A layer's kernel.

    Attributes:
        function: C name.
        sources: the files of firmware/kernels that it takes.
        weight_format: how its weights lie in flash.
        weights: int8, flat, in the kernel's order; trits packed for it otherwise.
        bias: int32[channels], what the kernel adds to its sums.
        scratch_bytes: what it needs of the arena while it runs.
        order: how reading and writing follow one another, which says how far its output may lie over its input
            (`graph/arena/access.py`). "pixels": output pixels in rows from the top, a pixel's input read until its last
            channel is written. "tiles": tiles of any number of such pixels, all input of a tile read before any of
            its output is written. "channels": all input of a channel, then all output of the channel of that number,
            each in the place of its input or elsewhere. "any": nothing is promised, the two never overlap.
        cost: what one run is expected to take.
        decoding: cycles of it that turn stored weights into what is computed with.
    """

    function: str
    sources: tuple[str, ...]
    weight_format: WeightFormat
    weights: Int8 | TernaryWeights | DualWords | TapLists | SparseLists | StepLists | Base3Dual | Base3Rows
    bias: Int32
    cost: Cost
    scratch_bytes: int = 0
    order: Order = "any"
    decoding: int = 0


def int8_kernel(graph: Graph, op: Weighted, cost: Cost) -> Kernel:
    """Weights as they are, whatever they are."""
    bias = folded_bias(op)
    if isinstance(op, DepthwiseConv2D):
        planes = plan_planes(op)
        weights = np.ascontiguousarray(op.weights.transpose(2, *planes.axes)).ravel()
        order: Order = "channels" if op.depth_multiplier == 1 else "any"
        sources = ("tg_depthwise.c", _OUTPUT)
        return Kernel("tg_depthwise_int8", sources, "int8", weights, bias, cost, planes.scratch_bytes, order)
    weights = interleave(op.weights)
    if isinstance(op, FullyConnected) and op.rows == 1:
        sources = ("tg_dense.c", _OUTPUT)
        return Kernel("tg_dense_int8", sources, "int8", weights, bias, cost, _positions(op) * 2, "tiles")
    sources = ("tg_conv2d.c", _OUTPUT)
    return Kernel("tg_conv2d_int8", sources, "int8", weights, bias, cost, columns_bytes(graph, op), "tiles")


def scratch_sizes(graph: Graph, kernels: Mapping[int, Kernel]) -> dict[int, int]:
    """Bytes of the arena that a layer's kernel works in while it runs, by the layer's position."""
    sizes = {position: kernel.scratch_bytes for position, kernel in kernels.items()}
    return sizes | {position: _ADD_TABLE_BYTES for position, op in enumerate(graph.ops) if isinstance(op, Add)}


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
    positions = _positions(op)
    return positions * TILE * 2 + (depth if depth % POSITIONS_A_GROUP == 0 else positions * TILE)


def _positions(op: Weighted) -> int:
    """Weights of a channel, in whole groups."""
    return -(-(op.weights.size // len(op.bias)) // POSITIONS_A_GROUP) * POSITIONS_A_GROUP


@dataclass(frozen=True)
class Planes:
    """How a depthwise convolution walks over its image (firmware/kernels/tg_depthwise.c).

    Attributes:
        axes: which of height (0) and width (1) the rows and the columns run along.
        band: output rows whose input is in the scratch at the same time.
    """

    axes: tuple[int, int]
    band: int
    scratch_bytes: int


def plan_planes(op: DepthwiseConv2D) -> Planes:
    """Columns along the axis that wastes fewer outputs of a block of four; as many rows as fit the scratch."""
    padded = {axis: -(-op.out_shape[axis] // _BLOCK) * _BLOCK * op.out_shape[1 - axis] for axis in (0, 1)}
    columns = 1 if padded[1] <= padded[0] else 0
    rows = 1 - columns
    window = op.window
    reach = _even((window.kernel[columns] - 1) * window.dilation[columns] + 1)
    extent = (window.kernel[rows] - 1) * window.dilation[rows] + 1
    pitch = _even(-(-op.out_shape[columns] // _BLOCK) * _BLOCK * window.stride[columns] + reach)

    def plane_bytes(band: int) -> int:
        return _CHANNELS_A_GROUP * ((band - 1) * window.stride[rows] + extent) * pitch * 2

    band = next((n for n in range(op.out_shape[rows], 1, -1) if plane_bytes(n) <= _PLANES_BYTES), 1)
    scratch = plane_bytes(band) + window.kernel[rows] * 2 * reach * 2 + op.out_shape[columns] * 4
    return Planes((rows, columns), band, scratch)


def _even(value: int) -> int:
    return value + value % 2
