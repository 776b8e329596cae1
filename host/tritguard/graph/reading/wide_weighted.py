"""Readers of layers with int8 weights and 16-bit activations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.arithmetic import fixed_point
from tritguard.graph.call import KernelCall, Parameters, calls, window_fields
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import Conv2D, DepthwiseConv2D, FullyConnected, Int64, Op, Tensor, TransposeConv, Window
from tritguard.graph.reading import weighted
from tritguard.graph.reading.checks import same_width
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import reads_wide
from tritguard.graph.wide import WideConv, WideTransposeConv, WideWeighted

_MOST_SUM = 1 << 47  # beyond which TFLM's rescaling of 64-bit sums overflows
_LOWEST = 1 << 15  # the magnitude of the lowest int16
_BIAS, _TRANSPOSED_BIAS = 2, 3  # the positions among an op's inputs
_LONG_BIAS = "DEPTHWISE_CONV_2D and TRANSPOSE_CONV: a bias of int64, as TFLM takes any for one"
_ONE_PIXEL = Window((1, 1), (1, 1), (1, 1), (0, 0))


@reads_wide("CONV_2D")
def conv(reader: Reader, raw: RawOp) -> Op:
    """CONV_2D."""
    op = weighted.conv(reader, _without_bias(raw, _BIAS))
    assert isinstance(op, Conv2D)
    _, _, depth = reader.tensors[op.inputs[0]].shape
    return WideConv(
        **_fields(reader, raw, op, _BIAS, wraps=_wraps(reader, raw)),
        weights=op.weights,
        window=op.window,
        in_shape=_image(reader.tensors[op.inputs[0]].shape),
        out_shape=op.out_shape,
        group=op.out_shape[2] * op.weights.shape[3] // depth,
    )


@reads_wide("DEPTHWISE_CONV_2D", limits=_LONG_BIAS)
def depthwise(reader: Reader, raw: RawOp) -> Op:
    """DEPTHWISE_CONV_2D, whose sums always have 64 bits."""
    op = weighted.depthwise(reader, _without_bias(raw, _BIAS))
    assert isinstance(op, DepthwiseConv2D)
    return WideConv(
        **_fields(reader, raw, op, _BIAS, wraps=False),
        weights=np.ascontiguousarray(np.moveaxis(op.weights, 2, 0))[..., None],
        window=op.window,
        in_shape=_image(reader.tensors[op.inputs[0]].shape),
        out_shape=op.out_shape,
        group=op.depth_multiplier,
    )


@reads_wide("FULLY_CONNECTED")
def fully_connected(reader: Reader, raw: RawOp) -> Op:
    """FULLY_CONNECTED, a convolution over the pixels of one row."""
    op = weighted.fully_connected(reader, _without_bias(raw, _BIAS))
    assert isinstance(op, FullyConnected)
    units, depth = op.weights.shape
    return WideConv(
        **_fields(reader, raw, op, _BIAS, wraps=_wraps(reader, raw)),
        weights=op.weights[:, None, None, :],
        window=_ONE_PIXEL,
        in_shape=(1, op.rows, depth),
        out_shape=(1, op.rows, units),
        group=units,
    )


@reads_wide("TRANSPOSE_CONV", limits=_LONG_BIAS)
def transpose_conv(reader: Reader, raw: RawOp) -> Op:
    """TRANSPOSE_CONV, whose sums always have 64 bits."""
    op = weighted.transpose_conv(reader, _without_bias(raw, _TRANSPOSED_BIAS))
    assert isinstance(op, TransposeConv)
    return WideTransposeConv(
        **_fields(reader, raw, op, _TRANSPOSED_BIAS, wraps=False),
        weights=op.weights,
        window=op.window,
        in_shape=op.in_shape,
        out_shape=op.out_shape,
    )


def _image(shape: tuple[int, ...]) -> tuple[int, int, int]:
    height, width, channels = shape
    return height, width, channels


def _without_bias(raw: RawOp, position: int) -> RawOp:
    return replace(raw, inputs=raw.inputs[:position])


def _bias_type(reader: Reader, raw: RawOp, position: int) -> str | None:
    """The type of the bias; None if there is none."""
    if len(raw.inputs) <= position or raw.inputs[position] < 0:
        return None
    return reader.tensor(raw, position).type


def _wraps(reader: Reader, raw: RawOp) -> bool:
    """Whether sums wrap at 32 bits, as TFLM's do if they begin with a bias of int32."""
    return _bias_type(reader, raw, _BIAS) == "INT32"


def _fields(
    reader: Reader,
    raw: RawOp,
    op: Conv2D | DepthwiseConv2D | FullyConnected | TransposeConv,
    position: int,
    *,
    wraps: bool,
) -> dict[str, Any]:
    """The fields that these layers share; `op` is the layer read as one of int8 without a bias."""
    where = raw.describe()
    same_width(reader.tensors[op.inputs[0]], reader.tensors[op.output], raw)
    kind = _bias_type(reader, raw, position)
    if kind == "INT32" and not wraps:
        raise UnsupportedOpError("a bias of int32, which TensorFlow Lite Micro reads as int64", where=where)
    bias: Int64 = np.zeros(len(op.bias), dtype=np.int64)
    if kind is not None:
        data = reader.constant(raw, position, "INT32" if wraps else "INT64").data
        if data is None or data.shape != bias.shape:
            raise BadModelError(f"bias does not match {len(bias)} channels", where=where)
        bias = np.asarray(data, dtype=np.int64)
    if not wraps:
        axis = 2 if isinstance(op, DepthwiseConv2D) else 0
        others = tuple(each for each in range(op.weights.ndim) if each != axis)
        sums = _LOWEST * np.abs(op.weights.astype(np.int64)).sum(axis=others)
        if (sums + np.abs(bias.astype(np.float64))).max() > _MOST_SUM:
            raise UnsupportedOpError("sums of more than 47 bits, which TensorFlow Lite Micro's overflow", where=where)
        for multiplier, shift in zip(op.requant.multiplier.tolist(), op.requant.shift.tolist(), strict=True):
            fixed_point.wide_multiplier(multiplier, shift)
    return {
        "index": raw.index,
        "inputs": op.inputs,
        "output": op.output,
        "operator": raw.name,
        "bias": bias,
        "wraps": wraps,
        "requant": op.requant,
    }


def _layer(op: WideWeighted) -> Parameters:
    """The fields of a `tg_wide_layer_t`."""
    requant = op.requant
    scales = np.stack([requant.multiplier, requant.shift], axis=1).tolist()
    if not op.wraps:
        scales = [fixed_point.wide_multiplier(multiplier, shift) for multiplier, shift in scales]
    fits = bool((op.bias == op.bias.astype(np.int32)).all())
    parameters: dict[str, Any] = {"weights": op.weights.ravel()}
    if op.bias.any():
        parameters["bias" if fits else "wide_bias"] = op.bias.astype(np.int32) if fits else op.bias
    return {
        **parameters,
        "multiplier": np.array([multiplier for multiplier, _ in scales], dtype=np.int32),
        "shift": np.array([shift for _, shift in scales], dtype=np.int8),
        "act_min": requant.act_min,
        "act_max": requant.act_max,
        "wraps": int(op.wraps),
    }


@calls(WideConv)
def _conv_call(op: WideConv, _source: Tensor, _sink: Tensor) -> KernelCall:
    parameters: Parameters = {
        "window": window_fields(op.window, op.in_shape, op.out_shape),
        "depth": op.weights.shape[3],
        "group": op.group,
        "layer": _layer(op),
    }
    return KernelCall("tg_wide_conv", "tg_wide_conv.c", parameters)


@calls(WideTransposeConv)
def _transpose_conv_call(op: WideTransposeConv, _source: Tensor, _sink: Tensor) -> KernelCall:
    parameters: Parameters = {
        "window": window_fields(op.window, op.in_shape, op.out_shape),
        "layer": _layer(op),
    }
    return KernelCall("tg_wide_transpose_conv", "tg_wide_transpose_conv.c", parameters)
