"""int8: weights as they are, in the order in which the kernels' loops read them; a format for every layer.

The order of positions is that of firmware/kernels/tg_core.h.
"""

from __future__ import annotations

import math
from typing import cast

import numpy as np
from typing_extensions import override

from tritguard.boards import CoreClass
from tritguard.graph.call import Parameters, window_fields
from tritguard.graph.formats.bits import BitMap
from tritguard.graph.formats.columns import (
    POSITIONS_A_GROUP,
    columns_bytes,
    columns_cost,
    padded_positions,
    pixels_cost,
)
from tritguard.graph.formats.cost import TILE, Cost, Shape, shape_of
from tritguard.graph.formats.int8_channels import CHANNELS_CODE
from tritguard.graph.formats.int8_depthwise import DEPTHWISE_CODE, depthwise_kernels
from tritguard.graph.formats.int8_lanes import LANES_CODE, windows_kernel
from tritguard.graph.formats.int8_weights import OUTPUT_CODE, Int8Weights, by_channel
from tritguard.graph.formats.kernel import Bytes, Image, Kernel, bits_of, folded_bias, window_of
from tritguard.graph.formats.registry import Site, offers
from tritguard.graph.model import Conv2D, DepthwiseConv2D, FullyConnected, Graph, Int8, Int32, Weighted

_ORDER = (0, 2, 1, 3)
_CODE = (
    {"tg_conv2d.c": 2650, "tg_conv2d_pixels.c": 1600, "tg_conv2d_slim.c": 610, "tg_dense.c": 1150}
    | OUTPUT_CODE
    | DEPTHWISE_CODE
    | LANES_CODE
    | CHANNELS_CODE
)
_QUAD = 4  # channels of a dense layer that are summed together
_PIECE = 256  # positions of a dense layer that are widened at once, where not all are


class Int8Columns(Int8Weights):
    """Weights that a kernel multiplies with columns of activations, in the order of `interleave`."""

    by_rows = True
    by_pixel = True

    @override
    def parameters(self, op: Weighted, bias: Int32, source: Image, sink: Image) -> Parameters:
        return {"window": window_fields(window_of(op), source, sink), "layer": self.layer(op, bias)}

    @override
    def bits(self, op: Weighted) -> BitMap:
        places = np.arange(op.weights.size).reshape(op.weights.shape)
        order = interleave(by_channel(op, cast(Int8, places + 1))).astype(np.int64) - 1
        return BitMap(np.repeat(order[:, None], 8, axis=1))  # what `interleave` pads is 0, and so becomes PADDING

    @override
    def is_defined(self, op: Weighted, memory: Bytes, clean: Bytes) -> bool:
        """Whether the padding is unchanged: a weight there that is not zero meets whatever the scratch holds."""
        bits = bits_of(op, self)
        return bits is not None and bits.leaves_padding(memory, clean)


class Int8Vector(Int8Columns):
    """Weights of a fully connected layer that takes one vector, or of a convolution with a single window."""

    by_rows = False
    by_pixel = False

    @override
    def parameters(self, op: Weighted, bias: Int32, source: Image, sink: Image) -> Parameters:
        depth, units = math.prod(source), sink[2]
        return {
            "depth": depth,
            "units": units,
            "piece": dense_scratch(depth, units)[0],
            "layer": self.layer(op, bias),
        }


@offers("int8", array="weights", code_bytes=_CODE)
def int8(site: Site) -> list[Kernel]:
    """The kernels of a layer whose weights stay int8."""
    op = site.op
    depthwise = depthwise_kernels(site, op) if isinstance(op, DepthwiseConv2D) else []
    if isinstance(op, DepthwiseConv2D) and op.depth_multiplier != len(op.bias):
        return depthwise
    # A depthwise layer of one input channel is a convolution as well.
    shape, values, bias = shape_of(op), interleave(by_channel(op, op.weights)), folded_bias(op)
    if _is_vector(site.graph, op):
        cost, (_, scratch) = _cost_of_vector(shape, site.core), dense_scratch(shape.positions, len(bias))
        dense = Kernel("tg_dense_int8", ("tg_dense.c", *OUTPUT_CODE), "int8", Int8Vector(values), bias, cost, scratch,
                       "tiles", struct="tg_dense_t")  # fmt: skip
        return [dense] if isinstance(op, FullyConnected) else [dense, *_convolutions(site, shape, values, bias)]
    return [*depthwise, *_convolutions(site, shape, values, bias)]


def _convolutions(site: Site, shape: Shape, values: Int8, bias: Int32) -> list[Kernel]:
    op, scratch = site.op, columns_bytes(site.graph, site.op)
    if site.slim:
        positions = padded_positions(op)
        scratch = dense_scratch(positions, len(bias))[1] + positions  # and a window, see tg_conv2d_slim.c
        sources = ("tg_conv2d_slim.c", "tg_dense.c", *OUTPUT_CODE)
        return [Kernel("tg_conv2d_slim", sources, "int8", Int8Columns(values), bias, _cost_of_slim(shape, site.core),
                       scratch, "tiles", struct="tg_conv2d_t")]  # fmt: skip
    made = [Kernel("tg_conv2d_int8", ("tg_conv2d.c", *OUTPUT_CODE), "int8", Int8Columns(values), bias,
                   _cost(shape, site.core), scratch, "tiles", struct="tg_conv2d_t")]  # fmt: skip
    window = window_of(op)
    if site.core != "m55" and window.kernel == window.stride == (1, 1) and window.padding == (0, 0):
        cost = _cost(shape, site.core, by_pixel=True)
        made.append(Kernel("tg_conv2d_pixels", ("tg_conv2d_pixels.c", *OUTPUT_CODE), "int8", Int8Columns(values), bias,
                           cost, scratch, "tiles", struct="tg_conv2d_t"))  # fmt: skip
    return made + windows_kernel(site, op)


def _is_vector(graph: Graph, op: Weighted) -> bool:
    """Whether a layer takes one vector: a dense layer of one row, or a convolution with one window, the whole input."""
    if isinstance(op, FullyConnected):
        return op.rows == 1
    whole = graph.tensors[op.inputs[0]].shape[:2]
    return isinstance(op, Conv2D) and op.out_shape[:2] == (1, 1) and op.window.padding == (0, 0) and (
        op.window.kernel == whole and op.window.dilation == (1, 1)
    )  # fmt: skip


def dense_scratch(depth: int, units: int) -> tuple[int, int]:
    """How many positions a dense layer widens at once, and the bytes of its scratch (firmware/kernels/tg_dense.c).

    A short vector is widened whole; a long one in pieces, if a piece and the sums kept between pieces take less.
    """
    positions = -(-depth // POSITIONS_A_GROUP) * POSITIONS_A_GROUP
    whole, pieces = 2 * positions, 2 * _PIECE + 4 * (-(-units // _QUAD) * _QUAD)
    return (positions, whole) if whole <= pieces else (_PIECE, pieces)


def _cost_of_vector(shape: Shape, core: CoreClass) -> Cost:
    each: dict[CoreClass, tuple[float, float]] = {
        "m0": (3.7, 5.4),
        "m3": (2.5, 4),
        "m4": (1.25, 1.7),
        "m55": (0.45, 0.8),
    }
    macs = shape.positions * shape.channels
    return Cost.of((macs, *each[core]), (shape.channels, 37, 50))


def _cost_of_slim(shape: Shape, core: CoreClass) -> Cost:
    """The cost of a dense layer for each pixel, whose window is copied and widened first."""
    each: dict[CoreClass, tuple[float, float]] = {
        "m0": (3.7, 5.4),
        "m3": (2.5, 4),
        "m4": (1.25, 1.7),
        "m55": (0.5, 0.9),
    }
    macs = shape.pixels * shape.positions * shape.channels
    return Cost.of(
        (macs, *each[core]), (shape.pixels * shape.channels, 37, 50), (shape.pixels * shape.positions, 8, 12)
    )


def _cost(shape: Shape, core: CoreClass, *, by_pixel: bool = False) -> Cost:
    macs = shape.tiles * TILE * shape.positions * shape.channels  # a tile's missing pixels are computed as well
    outputs = shape.pixels * shape.channels
    columns = columns_cost(shape, gather=(6, 9)) + Cost.of((shape.tiles, 190, 260))
    if by_pixel:
        columns = pixels_cost(shape)
    if core == "m0":
        return columns + Cost.of((macs, 4, 5.6), (outputs, 80, 110))
    if core == "m3":
        return columns + Cost.of((macs, 1.9, 3.1), (outputs, 30, 42))
    product, output = ((0.32, 0.6), (25, 40)) if core == "m55" else ((0.83, 1.15), (11, 15))
    return columns + Cost.of((macs, *product), (outputs, *output))


def interleave(weights: Int8) -> Int8:
    """int8[channels, ...] in the order of tg_core.h: two channels side by side, positions 0 2 1 3 of each four.

    The result is int8[ceil(channels / 2) * positions * 2], flat, with zeros as padding.
    """
    rows = weights.reshape(len(weights), -1)
    padded = np.pad(rows, ((0, len(rows) % 2), (0, -rows.shape[1] % POSITIONS_A_GROUP)))
    groups = padded.reshape(len(padded) // 2, 2, -1, POSITIONS_A_GROUP)[..., _ORDER]
    return np.ascontiguousarray(groups.transpose(0, 2, 3, 1)).ravel()
