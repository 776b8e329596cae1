"""int8: weights as they are, in the order in which the kernels' loops read them; a format for every layer.

The order of positions repeats that of firmware/kernels/tg_core.h.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from typing_extensions import override

from tritguard.boards import CoreClass
from tritguard.graph.call import Parameters, window_fields
from tritguard.graph.formats.bits import BitMap
from tritguard.graph.formats.columns import POSITIONS_A_GROUP, columns_bytes, columns_cost, padded_positions
from tritguard.graph.formats.cost import Cost, Shape, shape_of
from tritguard.graph.formats.int8_depthwise import DEPTHWISE_CODE, depthwise_kernels
from tritguard.graph.formats.int8_lanes import LANES_CODE, windows_kernel
from tritguard.graph.formats.int8_weights import OUTPUT_CODE, Int8Weights
from tritguard.graph.formats.kernel import Bytes, Image, Kernel, bits_of, folded_bias, window_of
from tritguard.graph.formats.registry import Site, offers
from tritguard.graph.model import DepthwiseConv2D, FullyConnected, Int8, Int32, Weighted

_ORDER = (0, 2, 1, 3)


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
        order = interleave(cast(Int8, places + 1)).astype(np.int64) - 1  # what it pads is 0, and so becomes PADDING
        return BitMap(np.repeat(order[:, None], 8, axis=1))

    @override
    def is_defined(self, op: Weighted, memory: Bytes, clean: Bytes) -> bool:
        """Whether the padding is unchanged: a weight there that is not zero meets whatever the scratch holds."""
        bits = bits_of(op, self)
        return bits is not None and bits.leaves_padding(memory, clean)


class Int8Vector(Int8Columns):
    """Weights of a fully connected layer that takes one vector."""

    @override
    def parameters(self, op: Weighted, bias: Int32, source: Image, sink: Image) -> Parameters:
        return {"depth": source[2], "units": sink[2], "layer": self.layer(op, bias)}


_CODE = {"tg_conv2d.c": 2700, "tg_dense.c": 900} | OUTPUT_CODE | DEPTHWISE_CODE | LANES_CODE


@offers("int8", array="weights", code_bytes=_CODE)
def int8(site: Site) -> list[Kernel]:
    """The kernels of a layer whose weights stay int8."""
    op, bias = site.op, folded_bias(site.op)
    if isinstance(op, DepthwiseConv2D):
        return depthwise_kernels(site, op)
    expected = _cost(op, shape_of(op), site.core)
    values = interleave(op.weights)
    if isinstance(op, FullyConnected) and op.rows == 1:
        return [Kernel("tg_dense_int8", ("tg_dense.c", *OUTPUT_CODE), "int8", Int8Vector(values), bias, expected,
                       padded_positions(op) * 2, "tiles", struct="tg_dense_t")]  # fmt: skip
    columns = Kernel("tg_conv2d_int8", ("tg_conv2d.c", *OUTPUT_CODE), "int8", Int8Columns(values), bias, expected,
                     columns_bytes(site.graph, op), "tiles", struct="tg_conv2d_t")  # fmt: skip
    return [columns, *windows_kernel(site, op)]


def _cost(op: Weighted, shape: Shape, core: CoreClass) -> Cost:
    macs = shape.pixels * shape.positions * shape.channels
    outputs = shape.pixels * shape.channels
    if core == "m0":
        return columns_cost(shape) + Cost.of((macs, 4, 5.6), (outputs, 40, 60))
    if core == "m3":
        return columns_cost(shape) + Cost.of((macs, 1.9, 3.1), (outputs, 30, 42))
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
