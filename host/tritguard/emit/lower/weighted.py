"""Layers with weights: convolutions, depthwise convolutions, fully connected layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tritguard.emit.code import Array, Fields, LayerCode, Struct
from tritguard.emit.lower.context import Context, Image, image
from tritguard.emit.lower.ternary import base3_dual, dual, lists, steps, taps
from tritguard.errors import UnsupportedOpError
from tritguard.graph.call import LONGEST_SIDE, window_fields
from tritguard.graph.formats.base3 import Base3Dual, Base3Rows
from tritguard.graph.formats.dual import DualWords
from tritguard.graph.formats.kernel import plan_planes
from tritguard.graph.formats.lists import SparseLists, StepLists
from tritguard.graph.formats.narrow import is_narrow
from tritguard.graph.formats.taps import TapLists
from tritguard.graph.formats.ternary import TernaryWeights
from tritguard.graph.model import Conv2D, DepthwiseConv2D, FullyConnected, TransposeConv, Weighted, Window


def _check_sums(op: Weighted | TransposeConv) -> None:
    """Products are at most 255 * |w|: their sum must stay in 32 bits whatever the input (bias may wrap, as in TFLM)."""
    channel_axis = op.channel_axis if isinstance(op, Weighted) else 0
    others = tuple(axis for axis in range(op.weights.ndim) if axis != channel_axis)
    if 255 * int(np.abs(op.weights.astype(np.int64)).sum(axis=others).max()) >= 1 << 31:
        raise UnsupportedOpError("so many weights a channel that 32-bit sums could overflow", where=f"op {op.index}")


def _weighted(context: Context, position: int, op: Weighted, struct: str, geometry: dict[str, Any]) -> LayerCode:
    _check_sums(op)
    kernel = context.kernel(position)
    symbol = f"tg_l{op.index}"
    if isinstance(kernel.weights, DualWords):
        return dual(context, position, op, kernel.weights, geometry["window"])
    if isinstance(kernel.weights, Base3Dual):
        return base3_dual(context, position, op, kernel.weights, geometry["window"])
    if isinstance(kernel.weights, TapLists):
        assert isinstance(op, DepthwiseConv2D)
        return taps(context, position, op, kernel.weights, geometry["window"])
    if isinstance(kernel.weights, StepLists):
        return steps(context, position, op, kernel.weights, geometry["window"])
    if isinstance(kernel.weights, SparseLists):
        return lists(context, position, op, kernel.weights, geometry["window"])
    if isinstance(kernel.weights, TernaryWeights):
        arrays = [Array("trits", kernel.weights.words), Array("magnitude", kernel.weights.magnitude)]
    elif isinstance(kernel.weights, Base3Rows):
        arrays = [Array("magnitude", kernel.weights.magnitude)]
    else:
        arrays = [Array("weights", kernel.weights, aligned=True)]
    weights: dict[str, Any] = {array.name: f"{symbol}_{array.name}" for array in arrays}
    arrays += [
        Array("bias", kernel.bias),
        Array("multiplier", op.requant.multiplier),
        Array("shift", op.requant.shift.astype(np.int8)),
    ]
    fields: dict[str, Any] = {
        **geometry,
        "layer": {
            **weights,
            "bias": f"{symbol}_bias",
            "in_zero_point": op.input_zero_point,
            "requant": {
                "multiplier": f"{symbol}_multiplier",
                "shift": f"{symbol}_shift",
                "zero_point": op.requant.zero_point,
                "act_min": op.requant.act_min,
                "act_max": op.requant.act_max,
                "narrow": int(is_narrow(op)),
            },
        },
    }
    if isinstance(kernel.weights, Base3Rows):
        arrays.append(Array("packed", kernel.weights.packed))
        struct = "tg_ternary_base3_t"
        fields = {"ternary": fields, "packed": f"{symbol}_packed", "group": kernel.weights.group}
    return context.weighted(position, op, tuple(arrays), Struct(struct, fields))


def conv(context: Context, position: int, op: Conv2D) -> LayerCode:
    """One kernel over all output pixels."""
    source, sink = image(context.source(op)), op.out_shape
    as_columns = context.kernel(position).weight_format in ("int8", "dual2", "base3")
    pixels = sink[0] * sink[1]
    by_pixel = op.window.kernel == op.window.stride == (1, 1) and pixels <= LONGEST_SIDE
    if as_columns and by_pixel and context.plan.chain(position) is None:  # a stripe's rows are the image's
        # As one long row it has no ends in between.
        source, sink = (1, pixels, source[2]), (1, pixels, sink[2])
    geometry = {"window": window_fields(op.window, source, sink)}
    return _weighted(context, position, op, "tg_conv2d_t", geometry)


def fully_connected(context: Context, position: int, op: FullyConnected) -> LayerCode:
    """One vector has a kernel of its own; several are a 1x1 convolution over a 1 x rows image."""
    units, depth = op.weights.shape
    if context.kernel(position).function == "tg_dense_int8":
        return _weighted(context, position, op, "tg_dense_t", {"depth": depth, "units": units})
    window = Window((1, 1), (1, 1), (1, 1), (0, 0))
    geometry = {"window": window_fields(window, (1, op.rows, depth), (1, op.rows, units))}
    return _weighted(context, position, op, "tg_conv2d_t", geometry)


def depthwise(context: Context, position: int, op: DepthwiseConv2D) -> LayerCode:
    """A channel at a time, over planes; with trits over all output pixels."""
    kernel = context.kernel(position)
    if kernel.function != "tg_depthwise_int8":
        geometry: dict[str, Any] = {
            "window": window_fields(op.window, image(context.source(op)), op.out_shape),
            "depth_multiplier": op.depth_multiplier,
        }
        return _weighted(context, position, op, "tg_depthwise_ternary_t", geometry)
    planes = plan_planes(op)
    source = image(context.source(op))
    rows, columns = (_axis_fields(op, source, axis) for axis in planes.axes)
    geometry = {
        "rows": rows,
        "columns": columns,
        "channels": source[2],
        "depth_multiplier": op.depth_multiplier,
        "band": planes.band,
    }
    return _weighted(context, position, op, "tg_depthwise_t", geometry)


def transpose_conv(context: Context, position: int, op: TransposeConv) -> LayerCode:
    """Gathered output pixel by output pixel: no accumulators of the whole image, as scattering would need."""
    _check_sums(op)
    arrays = (
        Array("weights", op.weights.ravel()),
        Array("bias", op.bias),
        Array("multiplier", op.requant.multiplier),
        Array("shift", op.requant.shift.astype(np.int8)),
    )
    symbol = op.symbol
    fields: Fields = {
        "window": window_fields(op.window, op.in_shape, op.out_shape),
        "layer": {
            "weights": f"{symbol}_weights",
            "bias": f"{symbol}_bias",
            "in_zero_point": op.input_zero_point,
            "requant": {
                "multiplier": f"{symbol}_multiplier",
                "shift": f"{symbol}_shift",
                "zero_point": op.requant.zero_point,
                "act_min": op.requant.act_min,
                "act_max": op.requant.act_max,
            },
        },
    }
    return LayerCode(
        **context.base(position, op),
        weight_format="int8",
        weight_bytes=op.weights.nbytes,
        arrays=arrays,
        struct=Struct("tg_transpose_conv_t", fields),
        call=context.call(op, "tg_transpose_conv"),
        sources=("tg_transpose_conv.c",),
    )


def _axis_fields(op: DepthwiseConv2D, source: Image, axis: int) -> Fields:
    """A `tg_axis_t`: height where axis is 0, width where it is 1."""
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
