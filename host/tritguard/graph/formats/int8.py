"""int8: weights as they are, in the order in which the kernels' loops read them; a format for every layer.

The order of positions repeats that of firmware/kernels/tg_core.h.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
from typing_extensions import override

from tritguard.boards import CoreClass
from tritguard.graph.call import Constant, Parameters, window_fields
from tritguard.graph.formats.bits import BitMap
from tritguard.graph.formats.columns import POSITIONS_A_GROUP, columns_bytes, columns_cost
from tritguard.graph.formats.cost import Cost, Shape, shape_of
from tritguard.graph.formats.fields import weighted_fields
from tritguard.graph.formats.kernel import Bytes, Image, Kernel, Order, Weights, bits_of, folded_bias, window_of
from tritguard.graph.formats.registry import Site, offers
from tritguard.graph.model import DepthwiseConv2D, FullyConnected, Int8, Int32, Weighted

_ORDER = (0, 2, 1, 3)
_BLOCK = 4
_CHANNELS_A_GROUP = 4
_WALK_BYTES = 4096
_PIECE = 256  # positions of a dense layer that are widened at once, where not all are
_OUTPUT = "tg_output.c"


@dataclass(frozen=True, eq=False)
class Int8Weights(Weights):
    """Weights that a kernel multiplies with columns of activations.

    Attributes:
        values: int8, flat, in the order of `interleave`; for a depthwise layer in that of its walk.
    """

    by_rows = True
    by_pixel = True
    values: Int8

    @property
    @override
    def nbytes(self) -> int:
        return int(self.values.nbytes)

    @override
    def parameters(self, op: Weighted, bias: Int32, source: Image, sink: Image) -> Parameters:
        return {"window": window_fields(window_of(op), source, sink), "layer": self._layer(op, bias)}

    @override
    def bits(self, op: Weighted) -> BitMap:
        places = np.arange(op.weights.size).reshape(op.weights.shape)
        order = interleave(cast(Int8, places + 1)).astype(np.int64) - 1  # what it pads is 0, and so becomes PADDING
        return BitMap(np.repeat(order[:, None], 8, axis=1))

    @override
    def is_defined(self, op: Weighted, memory: Bytes, clean: Bytes) -> bool:
        """Whether the padding is unchanged: a weight there that is not zero meets whatever the scratch holds."""
        bits = bits_of(op, self)
        return bits is not None and bits.leaves_padding(memory, clean)

    def _layer(self, op: Weighted, bias: Int32) -> Parameters:
        return weighted_fields(op, bias, {"weights": Constant(self.values, aligned=True)})


class Int8Vector(Int8Weights):
    """Weights of a fully connected layer that takes one vector."""

    @override
    def parameters(self, op: Weighted, bias: Int32, source: Image, sink: Image) -> Parameters:
        fields = {"depth": source[2], "units": sink[2], "piece": dense_scratch(source[2], sink[2])[0]}
        return {**fields, "layer": self._layer(op, bias)}


class Int8Planes(Int8Weights):
    """Weights of a depthwise layer, one channel after the other."""

    by_rows = False
    by_pixel = False

    @override
    def parameters(self, op: Weighted, bias: Int32, source: Image, sink: Image) -> Parameters:
        assert isinstance(op, DepthwiseConv2D)
        walk = plan_walk(op)
        rows, columns = (_axis_fields(op, source, axis) for axis in walk.axes)
        return {
            "rows": rows,
            "columns": columns,
            "channels": source[2],
            "depth_multiplier": op.depth_multiplier,
            "band": walk.band,
            "layer": self._layer(op, bias),
        }

    @override
    def bits(self, op: Weighted) -> BitMap:
        assert isinstance(op, DepthwiseConv2D)
        places = np.arange(op.weights.size).reshape(op.weights.shape)
        return BitMap(np.repeat(places.transpose(2, *plan_walk(op).axes).reshape(-1, 1), 8, axis=1))


@offers(
    "int8",
    array="weights",
    code_bytes={"tg_conv2d.c": 2700, "tg_dense.c": 1150, "tg_depthwise.c": 1800, _OUTPUT: 400},
)
def int8(site: Site) -> list[Kernel]:
    """The kernel of a layer whose weights stay int8."""
    op, bias = site.op, folded_bias(site.op)
    expected = _cost(op, shape_of(op), site.core)
    if isinstance(op, DepthwiseConv2D):
        walk = plan_walk(op)
        planes = Int8Planes(np.ascontiguousarray(op.weights.transpose(2, *walk.axes)).ravel())
        order: Order = "channels" if op.depth_multiplier == 1 else "any"
        sources = ("tg_depthwise.c", _OUTPUT)
        return [Kernel("tg_depthwise_int8", sources, "int8", planes, bias, expected, walk.scratch_bytes, order,
                       struct="tg_depthwise_t")]  # fmt: skip
    values = interleave(op.weights)
    if isinstance(op, FullyConnected) and op.rows == 1:
        sources = ("tg_dense.c", _OUTPUT)
        _, scratch = dense_scratch(op.weights.shape[1], len(bias))
        return [Kernel("tg_dense_int8", sources, "int8", Int8Vector(values), bias, expected, scratch,
                       "tiles", struct="tg_dense_t")]  # fmt: skip
    scratch = columns_bytes(site.graph, op)
    return [Kernel("tg_conv2d_int8", ("tg_conv2d.c", _OUTPUT), "int8", Int8Weights(values), bias, expected, scratch,
                   "tiles", struct="tg_conv2d_t")]  # fmt: skip


def dense_scratch(depth: int, units: int) -> tuple[int, int]:
    """How many positions a dense layer widens at once, and the bytes of its scratch (firmware/kernels/tg_dense.c).

    All of a short vector; a long one in pieces, if that and the sums that wait between them take less.
    """
    positions = -(-depth // POSITIONS_A_GROUP) * POSITIONS_A_GROUP
    whole, pieces = 2 * positions, 2 * _PIECE + 4 * (-(-units // _CHANNELS_A_GROUP) * _CHANNELS_A_GROUP)
    return (positions, whole) if whole <= pieces else (_PIECE, pieces)


def _cost(op: Weighted, shape: Shape, core: CoreClass) -> Cost:
    macs = shape.pixels * shape.positions * shape.channels
    outputs = shape.pixels * shape.channels
    if core == "m0":
        each = 10 if isinstance(op, DepthwiseConv2D) else 4
        return columns_cost(shape) + Cost.of((macs, each, 1.4 * each), (outputs, 40, 60))
    if core == "m3":
        if isinstance(op, DepthwiseConv2D):
            return Cost.of((macs, 4, 6), (outputs, 70, 100))
        return columns_cost(shape) + Cost.of((macs, 1.9, 3.1), (outputs, 30, 42))
    if isinstance(op, DepthwiseConv2D):
        by_blocks = op.window.kernel == (3, 3) and op.window.stride == op.window.dilation == (1, 1)
        return Cost.of((outputs, 30, 42)) if by_blocks else Cost.of((macs, 3, 5), (outputs, 35, 50))
    product, output = ((0.32, 0.6), (25, 40)) if core == "m55" else ((0.83, 1.15), (9, 12))
    if isinstance(op, FullyConnected) and op.rows == 1:
        return Cost.of((macs, *((0.45, 0.8) if core == "m55" else (1.25, 1.7))), (outputs, 37, 50))
    return columns_cost(shape) + Cost.of((macs, *product), (outputs, *output))


def interleave(weights: Int8) -> Int8:
    """int8[channels, ...] in the order of tg_core.h: two channels side by side, positions 0 2 1 3 of each four.

    The result is int8[ceil(channels / 2) * positions * 2], flat, with zeros as padding.
    """
    rows = weights.reshape(len(weights), -1)
    padded = np.pad(rows, ((0, len(rows) % 2), (0, -rows.shape[1] % POSITIONS_A_GROUP)))
    groups = padded.reshape(len(padded) // 2, 2, -1, POSITIONS_A_GROUP)[..., _ORDER]
    return np.ascontiguousarray(groups.transpose(0, 2, 3, 1)).ravel()


@dataclass(frozen=True)
class Walk:
    """How a depthwise convolution walks over its image (firmware/kernels/tg_depthwise.c).

    Attributes:
        axes: which of height (0) and width (1) the rows and the columns run along.
        band: output rows whose input is in the scratch at the same time.
        scratch_bytes: the scratch it needs.
    """

    axes: tuple[int, int]
    band: int
    scratch_bytes: int


def plan_walk(op: DepthwiseConv2D) -> Walk:
    """The walk with columns along the axis that wastes fewer outputs of a block of four, and as many rows as fit."""
    padded = {axis: -(-op.out_shape[axis] // _BLOCK) * _BLOCK * op.out_shape[1 - axis] for axis in (0, 1)}
    columns = 1 if padded[1] <= padded[0] else 0
    rows = 1 - columns
    window = op.window
    reach = _even((window.kernel[columns] - 1) * window.dilation[columns] + 1)
    extent = (window.kernel[rows] - 1) * window.dilation[rows] + 1
    pitch = _even(-(-op.out_shape[columns] // _BLOCK) * _BLOCK * window.stride[columns] + reach)

    def plane_bytes(band: int) -> int:
        return _CHANNELS_A_GROUP * ((band - 1) * window.stride[rows] + extent) * pitch * 2

    band = next((n for n in range(op.out_shape[rows], 1, -1) if plane_bytes(n) <= _WALK_BYTES), 1)
    scratch = plane_bytes(band) + window.kernel[rows] * 2 * reach * 2 + op.out_shape[columns] * 4
    return Walk((rows, columns), band, scratch)


def _even(value: int) -> int:
    return value + value % 2


def _axis_fields(op: DepthwiseConv2D, source: Image, axis: int) -> Parameters:
    """The fields of a `tg_axis_t`; axis 0 is the height, axis 1 the width."""
    window = op.window
    return {
        "in": source[axis],
        "out": op.out_shape[axis],
        "kernel": window.kernel[axis],
        "stride": window.stride[axis],
        "dilation": window.dilation[axis],
        "pad": window.padding[axis],
        "in_step": math.prod(source[axis + 1 :]),
        "out_step": math.prod(op.out_shape[axis + 1 :]),
    }
