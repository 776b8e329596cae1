"""Readers of layers with weights: convolutions, depthwise convolutions and fully connected layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import tflite

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.arithmetic import fixed_point
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import (
    Conv2D,
    DepthwiseConv2D,
    Float64,
    FullyConnected,
    Int8,
    Op,
    Tensor,
    TransposeConv,
    Window,
)
from tritguard.graph.reading.checks import fused_clamp, image, options_of, window
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import reads


def _convolution_window(
    raw: RawOp, options: Any, kernel: tuple[int, int], source: Tensor, out: tuple[int, int, int]
) -> Window:
    height, width, _ = source.shape
    dilation = (options.DilationHFactor(), options.DilationWFactor())
    return window(raw, options, kernel, dilation, (height, width), out[:2])


def _weighted(reader: Reader, raw: RawOp, weights: Int8, scales: Float64, clamp: tuple[int, int]) -> dict[str, Any]:
    """The fields of an op with weights, with factors in double as in `PopulateConvolutionQuantizationParams`."""
    source, output = reader.in_out(raw)
    return {
        "index": raw.index,
        "inputs": (source.index,),
        "output": output.index,
        "weights": weights,
        "weight_scale": scales,
        "bias": reader.bias(raw, len(scales)),
        "input_zero_point": source.zero_point,
        "requant": fixed_point.requant(source.scale * scales / output.scale, output.zero_point, clamp),
    }


@reads("CONV_2D", device="int8 or packed ternary kernels", limits="CONV_2D: no groups; symmetric weights, a constant")
def conv(reader: Reader, raw: RawOp) -> Op:
    """CONV_2D."""
    source, output = reader.in_out(raw)
    depth = image(source, raw)[2]
    out_shape = image(output, raw)
    options = options_of(raw, tflite.Conv2DOptions)
    weights, scales = reader.weights(raw, 0, out_shape[2])
    if weights.ndim != 4 or weights.shape[0] != out_shape[2]:
        raise BadModelError(f"weights {list(weights.shape)} for output {list(out_shape)}", where=raw.describe())
    if weights.shape[3] != depth:
        raise UnsupportedOpError(
            f"weights for {weights.shape[3]} of {depth} channels: grouped convolution", where=raw.describe()
        )
    return Conv2D(
        **_weighted(reader, raw, weights, scales, fused_clamp(raw, options, output)),
        window=_convolution_window(raw, options, (weights.shape[1], weights.shape[2]), source, out_shape),
        out_shape=out_shape,
    )


@reads("DEPTHWISE_CONV_2D", device="int8 or packed ternary kernels")
def depthwise(reader: Reader, raw: RawOp) -> Op:
    """DEPTHWISE_CONV_2D."""
    source, output = reader.in_out(raw)
    depth = image(source, raw)[2]
    out_shape = image(output, raw)
    options = options_of(raw, tflite.DepthwiseConv2DOptions)
    weights, scales = reader.weights(raw, 3, out_shape[2])
    if (
        weights.ndim != 4
        or weights.shape[0] != 1
        or weights.shape[3] != out_shape[2]
        or options.DepthMultiplier() * depth != out_shape[2]
    ):
        raise BadModelError(f"weights {list(weights.shape)} for output {list(out_shape)}", where=raw.describe())
    return DepthwiseConv2D(
        **_weighted(reader, raw, weights[0], scales, fused_clamp(raw, options, output)),
        window=_convolution_window(raw, options, (weights.shape[1], weights.shape[2]), source, out_shape),
        depth_multiplier=out_shape[2] // depth,
        out_shape=out_shape,
    )


@reads("FULLY_CONNECTED", device="int8 or packed ternary kernels")
def fully_connected(reader: Reader, raw: RawOp) -> Op:
    """FULLY_CONNECTED."""
    source, output = reader.in_out(raw)
    options = options_of(raw, tflite.FullyConnectedOptions)
    if options.WeightsFormat() != tflite.FullyConnectedOptionsWeightsFormat.DEFAULT:
        raise UnsupportedOpError("shuffled weights, the default format is supported", where=raw.describe())
    raw_weights = reader.constant(raw, 1, "INT8")
    if len(raw_weights.shape) != 2:
        raise BadModelError(f"weights {list(raw_weights.shape)}", where=raw.describe())
    units, depth = raw_weights.shape
    if (
        not output.shape
        or output.shape[-1] != units
        or source.size % depth
        or source.size // depth * units != output.size
    ):
        raise BadModelError(
            f"weights {units} x {depth} between {list(source.shape)} and {list(output.shape)}", where=raw.describe()
        )
    weights, scales = reader.weights(raw, 0, units)
    fields = _weighted(reader, raw, weights, scales, clamp := fused_clamp(raw, options, output))
    if len(raw_weights.scales) == 1:
        # `GetQuantizedConvolutionMultipler` multiplies the two scales in float32 before it widens them.
        product = float(np.float32(source.scale) * np.float32(raw_weights.scales[0]))
        fields["requant"] = fixed_point.requant(np.full(units, product / output.scale), output.zero_point, clamp)
    return FullyConnected(**fields, rows=source.size // depth)


@reads("TRANSPOSE_CONV", device="gathered pixel by pixel, int8 weights", limits="never packed as ternary")
def transpose_conv(reader: Reader, raw: RawOp) -> Op:
    """TRANSPOSE_CONV, whose inputs are the output's shape, the weights, the input and a bias."""
    output, where = reader.output(raw), raw.describe()
    options = options_of(raw, tflite.TransposeConvOptions)
    source = reader.activation(raw.input(2), where)
    usual = replace(raw, inputs=(raw.input(2), raw.input(1), *raw.inputs[3:4]))  # as in other convolutions
    in_shape, out_shape = image(source, raw), image(output, raw)
    weights, scales = reader.weights(usual, 0, out_shape[2])
    if weights.ndim != 4 or (weights.shape[0], weights.shape[3]) != (out_shape[2], in_shape[2]):
        raise BadModelError(f"weights {list(weights.shape)} for output {list(out_shape)}", where=where)
    kernel, stride = (weights.shape[1], weights.shape[2]), (options.StrideH(), options.StrideW())
    if min(*stride, *kernel) < 1:
        raise BadModelError(f"stride {stride}, kernel {kernel}", where=where)
    # TFLM pads as the convolution from output to input would be padded, and what the input reaches beyond is cut.
    same = options.Padding() == tflite.Padding.SAME
    padding = []
    for axis in range(2):
        reached = -(-(out_shape[axis] if same else out_shape[axis] - kernel[axis] + 1) // stride[axis])
        padding.append(max(0, (reached - 1) * stride[axis] + kernel[axis] - out_shape[axis]) // 2)
    fields = _weighted(reader, usual, weights, scales, fused_clamp(raw, options, output))
    window = Window(kernel, stride, (1, 1), (padding[0], padding[1]))
    return TransposeConv(**fields, window=window, in_shape=in_shape, out_shape=out_shape)
