"""Readers of activations that are separate layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import tflite

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.arithmetic import fixed_point, tables
from tritguard.graph.arithmetic.curve import exponential_points, reciprocal_points
from tritguard.graph.call import KernelCall, Parameters, calls, scale_fields, table_call
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import LogSoftmax, Lookup, Op, Softmax, Tensor
from tritguard.graph.reading.checks import NO_WIDE_CLAMP, options_of, same_scale
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import reads, reads_wide
from tritguard.graph.wide import WideSoftmax

_WIDE_SOFTMAX_DEPTH = 65535  # the sum of exponentials has 31 bits
_SOFTMAX_DEPTH = 4095  # the sum of exponentials has 12 integer bits
_TABLE = "a table of 256 bytes"


@reads("SOFTMAX", device="gemmlowp's fixed point", limits="SOFTMAX: over at most 4,095; output 1/256 and -128")
def softmax(reader: Reader, raw: RawOp) -> Op:
    """SOFTMAX over the last axis."""
    source, output = _rows_in_out(reader, raw)
    if output.scale != 1 / 256 or output.zero_point != fixed_point.INT8_MIN:
        raise BadModelError("output scale is not 1/256 with zero point -128", where=raw.describe())
    beta = float(options_of(raw, tflite.SoftmaxOptions).Beta())
    multiplier, shift, diff_min = fixed_point.softmax_parameters(beta, source.scale)
    return Softmax(
        index=raw.index,
        inputs=(source.index,),
        output=output.index,
        rows=source.size // source.shape[-1],
        beta=beta,
        multiplier=multiplier,
        left_shift=shift,
        diff_min=diff_min,
    )


@reads_wide("SOFTMAX", limits="SOFTMAX: output 1/32,768")
def wide_softmax(reader: Reader, raw: RawOp) -> Op:
    """SOFTMAX of 16-bit activations, whose differences are rescaled so that 65,535 steps are 10."""
    source, output = reader.in_out(raw)
    if source.shape != output.shape or source.width != output.width:
        raise UnsupportedOpError("a softmax from int8 to int16, or to another shape", where=raw.describe())
    _check_output(raw, output, 1 / 32768, 0)
    if source.shape[-1] > _WIDE_SOFTMAX_DEPTH:
        raise UnsupportedOpError(
            f"softmax over {source.shape[-1]}, at most {_WIDE_SOFTMAX_DEPTH}", where=raw.describe()
        )
    beta = float(options_of(raw, tflite.SoftmaxOptions).Beta())
    return WideSoftmax(
        index=raw.index,
        inputs=(source.index,),
        output=output.index,
        operator=raw.name,
        rows=source.size // source.shape[-1],
        scale=fixed_point.requant(np.array([source.scale * beta / (10 / 65535)]), 0, NO_WIDE_CLAMP),
    )


@reads("LOG_SOFTMAX", device="gemmlowp's fixed point", limits="LOG_SOFTMAX: over at most 4,095; output 1/16 and 127")
def log_softmax(reader: Reader, raw: RawOp) -> Op:
    """LOG_SOFTMAX over the last axis."""
    source, output = _rows_in_out(reader, raw)
    _check_output(raw, output, 1 / 16, fixed_point.INT8_MAX)
    multiplier, shift, diff_min = fixed_point.softmax_parameters(1.0, source.scale)
    back_multiplier, back_shift = fixed_point.log_softmax_back(multiplier, shift)
    return LogSoftmax(
        index=raw.index,
        inputs=(source.index,),
        output=output.index,
        rows=source.size // source.shape[-1],
        multiplier=multiplier,
        left_shift=shift,
        back_multiplier=back_multiplier,
        back_shift=back_shift,
        diff_min=diff_min,
    )


def _rows_in_out(reader: Reader, raw: RawOp) -> tuple[Tensor, Tensor]:
    """The input and the output of a function of rows, which have one shape."""
    source, output = reader.in_out(raw)
    if source.shape != output.shape or not source.shape:
        raise BadModelError(f"{list(source.shape)} into {list(output.shape)}", where=raw.describe())
    if source.shape[-1] > _SOFTMAX_DEPTH:
        raise UnsupportedOpError(f"softmax over {source.shape[-1]}, at most {_SOFTMAX_DEPTH}", where=raw.describe())
    return source, output


def _lookup(raw: RawOp, source: Tensor, output: Tensor, **fields: Any) -> Op:
    if source.shape != output.shape:
        raise BadModelError(f"{list(source.shape)} into {list(output.shape)}", where=raw.describe())
    return Lookup(index=raw.index, inputs=(source.index,), output=output.index, function=raw.name, **fields)


def _check_output(raw: RawOp, output: Tensor, scale: float, zero_point: int) -> None:
    """Refuse any other output scale: TFLM computes to one fixed scale and ignores that of the file."""
    if (output.scale, output.zero_point) != (scale, zero_point):
        raise BadModelError(f"output scale is not {scale} with zero point {zero_point}", where=raw.describe())


@reads("LOGISTIC", device=_TABLE, limits="LOGISTIC: output 1/256 and -128")
def logistic(reader: Reader, raw: RawOp) -> Op:
    """LOGISTIC."""
    source, output = reader.in_out(raw)
    _check_output(raw, output, 1 / 256, fixed_point.INT8_MIN)
    return _lookup(raw, source, output, table=tables.logistic(source))


@reads("TANH", device=_TABLE, limits="TANH: output 1/128 and 0")
def tanh(reader: Reader, raw: RawOp) -> Op:
    """TANH."""
    source, output = reader.in_out(raw)
    _check_output(raw, output, 1 / 128, 0)
    return _lookup(raw, source, output, table=tables.tanh(source))


@reads("RELU", "RELU6", device=_TABLE, limits="RELU6: one scale, as TFLM does not rescale")
def relu(reader: Reader, raw: RawOp) -> Op:
    """RELU and RELU6; TFLM rescales only in RELU."""
    source, output = reader.in_out(raw)
    if raw.name == "RELU":
        return _lookup(raw, source, output, table=tables.relu(source, output))
    same_scale(source, output, raw)
    return _lookup(raw, source, output, table=tables.relu6(source))


@reads("LEAKY_RELU", device=_TABLE)
def leaky_relu(reader: Reader, raw: RawOp) -> Op:
    """LEAKY_RELU."""
    source, output = reader.in_out(raw)
    alpha = float(options_of(raw, tflite.LeakyReluOptions).Alpha())
    return _lookup(raw, source, output, table=tables.leaky_relu(source, output, alpha), alpha=alpha)


@reads("HARD_SWISH", device=_TABLE)
def hard_swish(reader: Reader, raw: RawOp) -> Op:
    """HARD_SWISH."""
    source, output = reader.in_out(raw)
    return _lookup(raw, source, output, table=tables.hard_swish(source, output))


@reads("ABS", device=_TABLE)
def absolute(reader: Reader, raw: RawOp) -> Op:
    """ABS."""
    source, output = reader.in_out(raw)
    return _lookup(raw, source, output, table=tables.absolute(source, output))


@reads("ELU", device=_TABLE)
def elu(reader: Reader, raw: RawOp) -> Op:
    """ELU."""
    source, output = reader.in_out(raw)
    return _lookup(raw, source, output, table=tables.elu(source, output))


@reads("RSQRT", device=_TABLE, limits="RSQRT: input zero point -128, TFLM stops at negative numbers")
def rsqrt(reader: Reader, raw: RawOp) -> Op:
    """RSQRT of inputs that cannot be negative; TFLM stops at the first one that is."""
    source, output = reader.in_out(raw)
    if source.zero_point != fixed_point.INT8_MIN:
        raise UnsupportedOpError(
            f"input with zero point {source.zero_point}, -128 is supported: TensorFlow Lite Micro stops at a negative "
            "number",
            where=raw.describe(),
        )
    return _lookup(raw, source, output, table=tables.rsqrt(source, output))


@calls(Softmax)
def _softmax_call(op: Softmax, _source: Tensor, sink: Tensor) -> KernelCall:
    parameters = {
        "rows": op.rows,
        "depth": sink.size // op.rows,
        "multiplier": op.multiplier,
        "left_shift": op.left_shift,
        "diff_min": op.diff_min,
    }
    return KernelCall("tg_softmax", "tg_softmax.c", parameters)


@calls(WideSoftmax)
def _wide_softmax_call(op: WideSoftmax, _source: Tensor, sink: Tensor) -> KernelCall:
    parameters: Parameters = {
        "rows": op.rows,
        "depth": sink.size // op.rows,
        "scale": scale_fields(op.scale),
        "exponential": exponential_points(),
        "reciprocal": reciprocal_points(),
    }
    return KernelCall("tg_wide_softmax", "tg_wide_softmax.c", parameters)


@calls(LogSoftmax)
def _log_softmax_call(op: LogSoftmax, _source: Tensor, sink: Tensor) -> KernelCall:
    parameters = {
        "rows": op.rows,
        "depth": sink.size // op.rows,
        "multiplier": op.multiplier,
        "left_shift": op.left_shift,
        "back_multiplier": op.back_multiplier,
        "back_shift": op.back_shift,
        "diff_min": op.diff_min,
    }
    return KernelCall("tg_log_softmax", "tg_log_softmax.c", parameters)


@calls(Lookup)
def _lookup_call(op: Lookup, _source: Tensor, sink: Tensor) -> KernelCall:
    return table_call(op.table, sink.size)
