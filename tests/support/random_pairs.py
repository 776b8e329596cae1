"""Hypothesis draws of functions of two elements, with broadcasting and constants."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from tests.support.tflite_builder import ModelBuilder
from tests.support.tflite_tables import Table

PAIRS = ("ADD", "SUB", "MUL", "PRELU", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE")


def pair(draw: st.DrawFn, builder: ModelBuilder, tensor: int, name: str | None = None) -> int:
    """One of PAIRS of a tensor and of a second operand that broadcasts: a constant, a part of it or its own mean."""
    name = name or draw(st.sampled_from(PAIRS))
    other = _constant(draw, builder, tensor, name) if name == "PRELU" else _other(draw, builder, tensor, name)
    scale_a, scale_b = builder.quant(tensor)[0], _scale(builder, other)
    fitting = {
        "MUL": scale_a * scale_b * 60,
        "PRELU": scale_a * max(1.0, scale_b * 60),
        "SQUARED_DIFFERENCE": max(scale_a, scale_b) ** 2 * 60,
    }.get(name, max(scale_a, scale_b))
    factor = draw(st.sampled_from([0.02, 0.5, 1.0, 2.0, 50.0]))
    # Scales grow with their square, and after a few ops beyond what a file can hold.
    assume(max(scale_b, fitting * factor) < np.finfo(np.float32).max)
    out = (float(np.float32(max(fitting * factor, 1e-12))), draw(st.integers(-128, 127)))
    if name in ("MAXIMUM", "MINIMUM"):
        out = builder.quant(tensor)
    operands = (tensor, other) if name == "PRELU" or draw(st.booleans()) else (other, tensor)
    activation = draw(st.sampled_from(["NONE", "RELU", "RELU6", "RELU_N1_TO_1"]))
    return builder.binary(name, *operands, out, activation)


def _scale(builder: ModelBuilder, tensor: int) -> float:
    scales = builder.tensors[tensor].scales
    assert scales is not None
    return float(np.float32(scales[0]))


def _constant(draw: st.DrawFn, builder: ModelBuilder, tensor: int, name: str) -> int:
    """A constant: one number for all, for each channel, for each row, or for each element."""
    height, width, depth = builder.shape(tensor)
    shape = draw(st.sampled_from([(1,), (depth,), (1, 1, depth), (height, 1, 1), (1, height, width, depth)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale, zero_point = float(np.float32(draw(st.floats(1e-3, 10)))), draw(st.integers(-128, 127))
    if name in ("MAXIMUM", "MINIMUM"):
        scale, zero_point = builder.quant(tensor)
    elif name != "MUL":
        scale = float(np.float32(builder.quant(tensor)[0] * draw(st.sampled_from([1e-2, 1.0, 30.0]))))
    return builder.constant(rng.integers(-128, 128, shape, dtype=np.int8), [scale], zero_point=zero_point)


def _other(draw: st.DrawFn, builder: ModelBuilder, tensor: int, name: str) -> int:
    way = draw(st.sampled_from(["constant", "mean", "row", "same"]))
    _, width, depth = builder.shape(tensor)
    quant = builder.quant(tensor)
    if name not in ("MAXIMUM", "MINIMUM"):
        quant = (float(np.float32(quant[0] * draw(st.sampled_from([0.1, 1.0, 3.0])))), draw(st.integers(-128, 127)))
    if way == "mean":
        return builder.mean(tensor, quant, keep_dims=True)
    if way == "row":
        row = builder.slice(tensor, [0, 0, 0, 0], [1, 1, width, depth], (1, width, depth))
        return row if name in ("MAXIMUM", "MINIMUM") else builder.quantize(row, quant)
    if way == "same":
        return tensor
    return _constant(draw, builder, tensor, name)


def product(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    """A BATCH_MATMUL of a tensor with itself or with a constant, one or both of them transposed."""
    height, width, depth = builder.shape(tensor)
    adj_x, adj_y = draw(st.booleans()), draw(st.booleans())
    rows, inner = (depth, width) if adj_x else (width, depth)
    scale, _ = builder.quant(tensor)
    if adj_x != adj_y and draw(st.booleans()):
        other, columns, other_scale = tensor, rows, scale
    else:
        columns, other_scale = draw(st.integers(1, 6)), float(np.float32(draw(st.floats(1e-3, 1))))
        sides = (columns, inner) if adj_y else (inner, columns)
        shape = draw(st.sampled_from([sides, (1, 1, *sides), (1, height, *sides)]))
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        values = rng.integers(-128, 128, shape, dtype=np.int8)
        other = builder.constant(values, [other_scale], zero_point=draw(st.integers(-128, 127)))
    out = float(np.float32(scale * other_scale * inner**0.5 * draw(st.sampled_from([30.0, 100.0, 3.0]))))
    output = builder.activation((height, rows, columns), out, draw(st.integers(-128, 127)))
    options = Table("BatchMatMulOptions", AdjX=adj_x, AdjY=adj_y)
    return builder.op("BATCH_MATMUL", [tensor, other], output, options)


REDUCTIONS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")


def reduced(builder: ModelBuilder, source: int, name: str, axes: Sequence[int], out: tuple[float, int]) -> int:
    """One of REDUCTIONS over axes, counted with the batch, which stay as axes of one element."""
    rank = len(builder.tensors[source].shape)
    gone = {axis % rank for axis in axes}
    shape = tuple(1 if axis in gone else side for axis, side in enumerate(builder.shape(source), start=1))
    options = Table("ReducerOptions", KeepDims=True)
    return builder.op(name, [source, builder.ints(axes)], builder.activation(shape, *out), options)


def reduction(draw: st.DrawFn, builder: ModelBuilder, tensor: int, name: str | None = None) -> int:
    """One of REDUCTIONS over any axes."""
    name = name or draw(st.sampled_from(REDUCTIONS))
    axes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3, unique=True))
    scale, zero_point = builder.quant(tensor)
    if name in ("MEAN", "SUM"):
        scale = float(np.float32(scale * draw(st.sampled_from([0.3, 1.0, 4.0]))))
        zero_point = draw(st.integers(-128, 127))
    written = [axis - 4 if draw(st.booleans()) else axis for axis in axes]
    return reduced(builder, tensor, name, written, (scale, zero_point))
