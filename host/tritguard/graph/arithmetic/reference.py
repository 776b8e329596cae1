"""The output of an op for given inputs in NumPy, with the kernels' bytes, for ops that the generator computes.

This is a separate implementation, written for clarity. Sums wrap at 32 bits wherever those of the device do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from tritguard.errors import UnsupportedOpError
from tritguard.graph.arithmetic import gemmlowp, tables
from tritguard.graph.arithmetic.fixed_point import INT8_MAX, INT8_MIN, multiply, requantise
from tritguard.graph.model import (
    RESIZE_ONE,
    Add,
    BatchMatMul,
    Binary,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Gather,
    Int8,
    Int64,
    L2Normalization,
    LogSoftmax,
    Lookup,
    Mean,
    MirrorPad,
    Op,
    Pad,
    Pool2D,
    Quantize,
    Reduce,
    Reshape,
    ResizeBilinear,
    ResizeNearest,
    Softmax,
    Tensor,
    TransposeConv,
    View,
    Window,
    as_image,
)

_EVERY = np.arange(INT8_MIN, INT8_MAX + 1, dtype=np.int8)


def computed(op: Op, inputs: list[Int8], tensors: Mapping[int, Tensor]) -> Int8:
    """Compute the output of an op.

    Args:
        op: the op.
        inputs: int8 activations of their tensors' shapes, in the order of `op.inputs`.
        tensors: the tensors of the op's graph.

    Returns:
        int8 of the output's shape.

    Raises:
        UnsupportedOpError: this module has no rule for the op.
    """
    rule = _RULES.get(type(op))
    if rule is None:
        where = f"op {op.index} ({op.kind})"
        raise UnsupportedOpError("it has constant inputs only, and no rule to compute it ahead", where=where)
    shaped = [np.asarray(x).reshape(tensors[index].shape) for x, index in zip(inputs, op.inputs, strict=True)]
    output: Int8 = rule(op, *shaped).astype(np.int8)
    return output.reshape(tensors[op.output].shape)


def elementwise(op: Quantize | Lookup) -> Int8:
    """int8[256]: the op's outputs for the inputs -128 to 127."""
    table: Int8 = _RULES[type(op)](op, _EVERY).astype(np.int8)
    return table


@lru_cache(maxsize=64)
def pairwise(op: Add | Binary) -> Int8:
    """int8[256, 256]: the op's outputs for all pairs of elements; the first operand runs along the first axis."""
    if isinstance(op, Add):
        return _add(op, _EVERY[:, None], _EVERY).astype(np.int8)
    every = _EVERY.astype(np.int64)
    return tables.pairs(op, every[:, None], every).astype(np.int8)


def _less(x: Int8, zero_point: int) -> Int64:
    return x.astype(np.int64) - zero_point


def _windows(x: Int64, window: Window, out: tuple[int, int, int], outside: int) -> Int64:
    """int64[height, width, taps, channels]: the values of an image in the window of each output pixel."""
    reach = [
        (out[axis] - 1) * window.stride[axis] + (window.kernel[axis] - 1) * window.dilation[axis] for axis in (0, 1)
    ]
    pads = [
        (before, max(0, last + 1 - before - size))
        for before, last, size in zip(window.padding, reach, x.shape[:2], strict=True)
    ]
    padded = np.pad(x, [*pads, (0, 0)], constant_values=outside)
    rows, columns = (
        np.add.outer(np.arange(out[axis]) * window.stride[axis], np.arange(window.kernel[axis]) * window.dilation[axis])
        for axis in (0, 1)
    )
    seen = padded[rows[:, None, :, None], columns[None, :, None, :]]
    return seen.reshape(out[0], out[1], -1, x.shape[2])


def _conv(op: Conv2D, x: Int8) -> Int64:
    seen = _windows(_less(x, op.input_zero_point), op.window, op.out_shape, 0)
    weights = op.weights.reshape(len(op.bias), -1).astype(np.int64)
    return requantise(seen.reshape(*op.out_shape[:2], -1) @ weights.T + op.bias, op.requant)


def _depthwise(op: DepthwiseConv2D, x: Int8) -> Int64:
    seen = _windows(_less(x, op.input_zero_point), op.window, op.out_shape, 0)
    seen = np.repeat(seen, op.depth_multiplier, axis=3)
    return requantise((seen * op.weights.reshape(-1, len(op.bias))).sum(axis=2) + op.bias, op.requant)


def _fully_connected(op: FullyConnected, x: Int8) -> Int64:
    rows = _less(x, op.input_zero_point).reshape(op.rows, -1)
    return requantise(rows @ op.weights.T.astype(np.int64) + op.bias, op.requant)


def _transpose_conv(op: TransposeConv, x: Int8) -> Int64:
    (height, width), (down, right), (top, left) = op.window.kernel, op.window.stride, op.window.padding
    out_h, out_w, channels = op.out_shape
    reach = [
        max((size - 1) * stride + kernel, before + out)
        for size, stride, kernel, before, out in zip(
            op.in_shape[:2], op.window.stride, op.window.kernel, op.window.padding, op.out_shape[:2], strict=True
        )
    ]
    sums = np.zeros((*reach, channels), dtype=np.int64)
    terms = np.einsum("yxi,ohwi->yxhwo", _less(x, op.input_zero_point), op.weights.astype(np.int64))
    for y, x_ in np.ndindex(*op.in_shape[:2]):
        sums[y * down : y * down + height, x_ * right : x_ * right + width] += terms[y, x_]
    return requantise(sums[top : top + out_h, left : left + out_w] + op.bias, op.requant)


def _add(op: Add, *operands: Int8) -> Int64:
    scaled = [
        multiply(_less(x, zero_point) << op.left_shift, requant.multiplier, requant.shift)
        for x, zero_point, requant in zip(operands, op.input_zero_points, op.input_requants, strict=True)
    ]
    return requantise(scaled[0] + scaled[1], op.requant)


def _binary(op: Binary, *activations: Int8) -> Int64:
    left = iter(activations)
    operands = [next(left) if constant is None else constant.values for constant in op.constants]
    laid = [
        np.lib.stride_tricks.as_strided(np.ascontiguousarray(x), op.sizes, steps, writeable=False)
        for x, steps in zip(operands, op.steps, strict=True)
    ]
    return tables.pairs(op, *(x.astype(np.int64) for x in laid))


def _batch_matmul(op: BatchMatMul, *activations: Int8) -> Int64:
    left = iter(activations)
    operands = [next(left) if constant is None else constant.values for constant in op.constants]
    rows, columns = (_less(x.ravel()[op.places(which)], op.zero_points[which]) for which, x in enumerate(operands))
    return requantise(rows @ columns.transpose(0, 2, 1), op.requant)


def _reduce(op: Reduce, x: Int8) -> Int64:
    elements = _less(x.ravel()[op.places], op.input_zero_point)
    if op.function in ("SUM", "MEAN"):
        return requantise(elements.sum(axis=1), op.requant)
    most = np.max if op.function == "REDUCE_MAX" else np.min
    return np.asarray(most(elements, axis=1) + op.input_zero_point, dtype=np.int64)


def _resize_bilinear(op: ResizeBilinear, x: Int8) -> Int64:
    (y0, y1, down), (x0, x1, right) = (np.array(axis, dtype=np.int64).T for axis in (op.rows, op.columns))
    wide, down, right = x.astype(np.int64), down[:, None, None], right[:, None]
    above, below = (wide[rows][:, x0] * (RESIZE_ONE - right) + wide[rows][:, x1] * right for rows in (y0, y1))
    total = above * (RESIZE_ONE - down) + below * down
    rounded = (np.abs(total) + RESIZE_ONE * RESIZE_ONE // 2) // (RESIZE_ONE * RESIZE_ONE)
    return np.asarray(np.sign(total) * rounded, dtype=np.int64)


def _mean(op: Mean, x: Int8) -> Int64:
    return requantise(_less(x, op.input_zero_point).reshape(op.positions, -1).sum(axis=0), op.requant)


def _pool(op: Pool2D, x: Int8) -> Int64:
    if op.mode == "max":
        pooled = _windows(_less(x, 0), op.window, op.out_shape, INT8_MIN).max(axis=2)
    else:
        sums = _windows(_less(x, 0), op.window, op.out_shape, 0).sum(axis=2)
        count = _windows(np.ones(x.shape, np.int64), op.window, op.out_shape, 0).sum(axis=2)
        pooled = np.sign(sums) * ((np.abs(sums) + count // 2) // count)
    return np.asarray(np.clip(pooled, op.act_min, op.act_max), dtype=np.int64)


def _softmax(op: Softmax, x: Int8) -> Int64:
    rows = x.reshape(op.rows, -1).tolist()
    return np.array([gemmlowp.softmax(row, op.multiplier, op.left_shift, op.diff_min) for row in rows])


def _log_softmax(op: LogSoftmax, x: Int8) -> Int64:
    forward, back = (op.multiplier, op.left_shift), (op.back_multiplier, op.back_shift)
    return np.array([gemmlowp.log_softmax(row, forward, back, op.diff_min) for row in x.reshape(op.rows, -1).tolist()])


def _l2_normalization(op: L2Normalization, x: Int8) -> Int64:
    rows = _less(x, op.input_zero_point).reshape(op.rows, -1).tolist()
    return np.array([gemmlowp.l2_normalization(row) for row in rows])


def _pad(op: Pad, x: Int8) -> Int8:
    return np.pad(x.reshape(as_image(x.shape)), list(zip(op.before, op.after, strict=True)), constant_values=op.value)


def _concatenation(op: Concatenation, *parts: Int8) -> Int8:
    return np.concatenate([part.reshape(op.rows, -1) for part in parts], axis=1)


_RULES: dict[type[Op], Callable[..., Any]] = {
    Conv2D: _conv,
    DepthwiseConv2D: _depthwise,
    FullyConnected: _fully_connected,
    TransposeConv: _transpose_conv,
    Add: _add,
    Binary: _binary,
    Mean: _mean,
    Pool2D: _pool,
    Softmax: _softmax,
    LogSoftmax: _log_softmax,
    L2Normalization: _l2_normalization,
    Pad: _pad,
    View: lambda op, x: x.ravel()[op.places],
    Concatenation: _concatenation,
    Reshape: lambda _op, x: x,
    MirrorPad: lambda op, x: x[np.ix_(op.rows, op.columns, op.depths)],
    ResizeBilinear: _resize_bilinear,
    Reduce: _reduce,
    BatchMatMul: _batch_matmul,
    Gather: lambda op, x: x.reshape(op.rows, op.side, op.width)[:, list(op.indices)],
    ResizeNearest: lambda op, x: x[np.ix_(op.rows, op.columns)],
    Quantize: lambda op, x: requantise(_less(x, op.input_zero_point), op.requant),
    Lookup: lambda op, x: op.table[_less(x, INT8_MIN)],
}
