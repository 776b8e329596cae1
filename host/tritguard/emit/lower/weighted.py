"""Lowers layers with weights: convolutions, depthwise convolutions, fully connected layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tritguard.emit.code import LayerCode
from tritguard.emit.lower.context import Context, image, plain_call, struct_of
from tritguard.errors import UnsupportedOpError
from tritguard.graph.call import LONGEST_SIDE, KernelCall, Parameters, call_of, window_fields
from tritguard.graph.formats.kernel import Image
from tritguard.graph.model import Conv2D, DepthwiseConv2D, FullyConnected, TransposeConv, Weighted
from tritguard.graph.stateful import Lstm, Svdf
from tritguard.graph.wide import WideConv, WideTransposeConv


def _check_sums(op: Weighted | TransposeConv) -> None:
    """Refuse sums that could overflow 32 bits; products are at most 255 * |w|, and the bias may wrap, as in TFLM."""
    channel_axis = op.channel_axis if isinstance(op, Weighted) else 0
    others = tuple(axis for axis in range(op.weights.ndim) if axis != channel_axis)
    if 255 * int(np.abs(op.weights.astype(np.int64)).sum(axis=others).max()) >= 1 << 31:
        raise UnsupportedOpError(
            "has so many weights per channel that 32-bit sums could overflow", where=f"op {op.index}"
        )


def weighted(context: Context, position: int, op: Weighted) -> LayerCode:
    """One call of the chosen kernel, whose weights say what its struct holds."""
    _check_sums(op)
    kernel = context.kernel(position)
    source, sink = _images(context, op)
    pixels = sink[0] * sink[1]
    by_pixel = isinstance(op, Conv2D) and op.window.kernel == op.window.stride == (1, 1) and pixels <= LONGEST_SIDE
    if by_pixel and kernel.weights.by_pixel and context.plan.chain(position) is None:  # a stripe's rows are the image's
        # One long row has no row ends in between.
        source, sink = (1, pixels, source[2]), (1, pixels, sink[2])
    struct, arrays = struct_of(op, kernel.type, kernel.weights.parameters(op, kernel.bias, source, sink))
    return context.weighted(position, op, arrays, struct)


def _images(context: Context, op: Weighted) -> tuple[Image, Image]:
    """A layer's input and output as images; the vectors of a fully connected layer are the pixels of one row."""
    if isinstance(op, FullyConnected):
        units, depth = op.weights.shape
        return (1, op.rows, depth), (1, op.rows, units)
    assert isinstance(op, Conv2D | DepthwiseConv2D)
    return image(context.source(op)), op.out_shape


def transpose_conv(context: Context, position: int, op: TransposeConv) -> LayerCode:
    """One call that gathers each output pixel: scattering would need the accumulators of a whole image."""
    _check_sums(op)
    parameters: Parameters = {
        "window": window_fields(op.window, op.in_shape, op.out_shape),
        "layer": {
            "weights": op.weights.ravel(),
            "bias": op.bias,
            "in_zero_point": op.input_zero_point,
            "requant": {
                "multiplier": op.requant.multiplier,
                "shift": op.requant.shift.astype(np.int8),
                "zero_point": op.requant.zero_point,
                "act_min": op.requant.act_min,
                "act_max": op.requant.act_max,
            },
        },
    }
    call = KernelCall("tg_transpose_conv", "tg_transpose_conv.c", parameters)
    return replace(plain_call(context, position, op, call), weight_format="int8", weight_bytes=op.weights.nbytes)


def called_with_weights(context: Context, position: int, op: Lstm | Svdf | WideConv | WideTransposeConv) -> LayerCode:
    """One plain call, reported as a layer with int8 weights."""
    called = plain_call(context, position, op, call_of(op, context.source(op), context.sink(op)))
    return replace(called, weight_format="int8", weight_bytes=op.weights.nbytes)
