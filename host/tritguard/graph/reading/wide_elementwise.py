"""Readers of functions of one or two elements with 16-bit activations, and of pools over them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import tflite
from numpy.typing import NDArray

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.arithmetic import fixed_point
from tritguard.graph.arithmetic.curve import sigmoid_points
from tritguard.graph.call import KernelCall, Parameters, calls, filled, scale_fields, window_fields
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import Op, Pool2D, Requant, Reshape, Tensor
from tritguard.graph.reading.binary import OPTIONS, to_one_scale, walk
from tritguard.graph.reading.checks import NO_CLAMP, NO_WIDE_CLAMP, fused_clamp, options_of, same_scale, same_width
from tritguard.graph.reading.pool import pool as narrow_pool
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import reads, reads_wide
from tritguard.graph.wide import WideBinary, WideCast, WideCurve, WidePool, WideQuantize, WideSlopes

_HEADROOM = 15
_CURVE_SCALE = 1 / 32768  # the scale of what comes out of the curves
_INPUT_BITS = 12  # the fraction bits of what goes into them
_MOST_FACTOR = (1 << 16) - 1  # an int16 times this, or a sum of this many, stays within 32 bits


def _in_out(reader: Reader, raw: RawOp) -> tuple[Tensor, Tensor]:
    """The input and the output, which have one shape and, except in QUANTIZE, one type."""
    source, output = reader.in_out(raw)
    if source.shape != output.shape:
        raise BadModelError(f"{list(source.shape)} into {list(output.shape)}", where=raw.describe())
    if raw.name != "QUANTIZE":
        same_width(source, output, raw)
    return source, output


def _scaling(real: float, clamp: tuple[int, int] = NO_WIDE_CLAMP) -> Requant:
    return fixed_point.requant(np.array([real]), 0, clamp)


@reads_wide("QUANTIZE", limits="QUANTIZE: between int16 and int16 or int8")
def quantize(reader: Reader, raw: RawOp) -> Op:
    """QUANTIZE between int16 and int16, int16 and int8 or int8 and int16."""
    source, output = _in_out(reader, raw)
    clamp = NO_CLAMP if output.width == 1 else NO_WIDE_CLAMP
    return WideQuantize(
        index=raw.index,
        inputs=(source.index,),
        output=output.index,
        operator=raw.name,
        input_zero_point=source.zero_point,
        requant=fixed_point.requant(np.array([source.scale / output.scale]), output.zero_point, clamp),
    )


def _slopes(raw: RawOp, source: Tensor, output: Tensor, above: Requant, below: Requant) -> Op:
    return WideSlopes(
        index=raw.index,
        inputs=(source.index,),
        output=output.index,
        operator=raw.name,
        above=above,
        below=below,
    )


@reads_wide("LEAKY_RELU")
def leaky_relu(reader: Reader, raw: RawOp) -> Op:
    """LEAKY_RELU."""
    source, output = _in_out(reader, raw)
    alpha = float(options_of(raw, tflite.LeakyReluOptions).Alpha())
    above, below = (_scaling(source.scale * slope / output.scale) for slope in (1.0, alpha))
    return _slopes(raw, source, output, above, below)


@reads_wide("ABS")
def absolute(reader: Reader, raw: RawOp) -> Op:
    """ABS, whose slope below zero is the negative of that above it."""
    source, output = _in_out(reader, raw)
    above = _scaling(source.scale / output.scale)
    return _slopes(raw, source, output, above, replace(above, multiplier=-above.multiplier))


@reads_wide("RELU", "RELU6", limits="RELU6: one scale")
def relu(reader: Reader, raw: RawOp) -> Op:
    """RELU and RELU6; TFLM rescales only in RELU."""
    source, output = _in_out(reader, raw)
    clamp = fixed_point.activation_range(raw.name, output.scale, 0, NO_WIDE_CLAMP)
    if raw.name == "RELU6":
        same_scale(source, output, raw)
    scaling = _scaling(source.scale / output.scale, clamp)
    return _slopes(raw, source, output, scaling, scaling)


@reads_wide("LOGISTIC", "TANH", limits="LOGISTIC and TANH: output 1/32,768")
def curve(reader: Reader, raw: RawOp) -> Op:
    """LOGISTIC and TANH, whose input TFLM only shifts where its scale is a suitable power of two."""
    source, output = _in_out(reader, raw)
    if output.scale != _CURVE_SCALE:
        raise BadModelError("output scale is not 1/32768", where=raw.describe())
    multiplier, shift = _curve_scale(source.scale, most=1 if raw.name == "TANH" else 0)
    if multiplier > _MOST_FACTOR:
        raise UnsupportedOpError(
            f"input scale {source.scale:.3g}, at which products leave 32 bits", where=raw.describe()
        )
    return WideCurve(
        index=raw.index,
        inputs=(source.index,),
        output=output.index,
        operator=raw.name,
        multiplier=multiplier,
        shift=shift,
    )


def _curve_scale(scale: float, most: int) -> tuple[int, int]:
    """The rescaling of the input, as TFLM's preparation computes it.

    Args:
        scale: the scale of the input.
        most: the most bits by which TFLM shifts an input to the left if its scale is a power of two.
    """
    mantissa, exponent = math.frexp(scale)
    left = exponent - 1 + _INPUT_BITS
    if mantissa == 0.5 and 0 <= left <= most:
        return 3 << left, 0
    multiplier, shift = scale * (3 << _INPUT_BITS), 0
    while multiplier <= 32767 / 2 and shift <= 30:
        multiplier, shift = 2 * multiplier, shift + 1
    return int(multiplier), shift


@reads_wide("ADD", "SUB", "MUL", "SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM", limits="MAXIMUM and MINIMUM: one scale")
def binary(reader: Reader, raw: RawOp) -> Op:
    """ADD, SUB and SQUARED_DIFFERENCE over a common scale, MUL, MAXIMUM and MINIMUM; an operand may be a constant."""
    output = reader.output(raw)
    tensors = [reader.tensor(raw, position) for position in range(2)]
    constants = tuple(None if each.data is None else np.asarray(each.data) for each in tensors)
    if constants[0] is not None and constants[1] is not None:
        raise UnsupportedOpError("two constants", where=raw.describe())
    for each in tensors:
        empty = each.data is not None and not np.asarray(each.data).any()  # a constant of zeros needs no scale
        if each.type != "INT16" or len(each.scales) != 1 or any(each.zero_points) or not (each.scales[0] or empty):
            what = f"operand {each.index} is no int16 tensor with one scale and zero point 0"
            raise UnsupportedOpError(what, where=raw.describe())
    activations = [reader.activation(each.index, raw.describe()) for each in tensors if each.data is None]
    if output.width == 1:
        raise BadModelError("inputs and output differ in type", where=raw.describe())
    scales = (tensors[0].scales[0], tensors[1].scales[0])
    clamp = fused_clamp(raw, options_of(raw, OPTIONS[raw.name]), output) if raw.name in OPTIONS else NO_WIDE_CLAMP
    rescalings, factor = _pair_factors(raw, scales, output.scale)
    sizes, steps = walk(raw, (tensors[0].shape, tensors[1].shape), output)
    return WideBinary(
        index=raw.index,
        inputs=tuple(each.index for each in activations),
        output=output.index,
        operator=raw.name,
        constants=(_flat(constants[0]), _flat(constants[1])),
        sizes=sizes,
        steps=steps,
        operand_requants=rescalings,
        requant=_scaling(factor, clamp),
    )


def _pair_factors(
    raw: RawOp, scales: tuple[float, float], out_scale: float
) -> tuple[tuple[Requant, Requant] | None, float]:
    """The rescalings of the operands, if there are any, and the factor of the result."""
    if raw.name == "MUL":
        return None, scales[0] * scales[1] / out_scale
    if raw.name in ("MAXIMUM", "MINIMUM"):
        if scales != (out_scale, out_scale):
            raise UnsupportedOpError("inputs and output differ in scale", where=raw.describe())
        return None, 1.0
    rescalings, twice_max = to_one_scale(scales)
    if raw.name == "SQUARED_DIFFERENCE":
        return rescalings, twice_max * twice_max / out_scale
    factor = twice_max / ((1 << _HEADROOM) * out_scale)
    if factor >= 1:
        raise BadModelError(f"output scale {out_scale:.3g} is too small for the inputs' scales", where=raw.describe())
    return rescalings, factor


def _flat(values: NDArray[np.int16] | None) -> NDArray[np.int16] | None:
    return None if values is None else values.astype(np.int16).ravel()


@reads_wide("AVERAGE_POOL_2D", "MAX_POOL_2D")
def pool(reader: Reader, raw: RawOp) -> Op:
    """AVERAGE_POOL_2D and MAX_POOL_2D."""
    op = narrow_pool(reader, raw)
    assert isinstance(op, Pool2D)
    if math.prod(op.window.kernel) > _MOST_FACTOR:
        raise UnsupportedOpError(f"a window of {op.window.kernel}, whose sums leave 32 bits", where=raw.describe())
    return WidePool(
        index=raw.index,
        inputs=op.inputs,
        output=op.output,
        operator=raw.name,
        window=op.window,
        out_shape=op.out_shape,
        act_min=op.act_min,
        act_max=op.act_max,
    )


@reads("CAST", device="nothing, a copy, or a widening", limits="CAST: of activations, int8 and int16", any_width=True)
def cast(reader: Reader, raw: RawOp) -> Op:
    """CAST of steps, whatever their scales: the low byte of an int16, or an int8 as it is."""
    source, output = reader.in_out(raw)
    if source.size != output.size:
        raise BadModelError(f"{list(source.shape)} into {list(output.shape)}", where=raw.describe())
    if source.width == output.width:
        return Reshape(index=raw.index, inputs=(source.index,), output=output.index)
    return WideCast(index=raw.index, inputs=(source.index,), output=output.index, operator=raw.name)


@calls(WideCast)
def _cast_call(_op: WideCast, source: Tensor, sink: Tensor) -> KernelCall:
    if source.width > sink.width:  # the low bytes, which come first
        parameters: Parameters = {"offset": 0, "sizes": filled((sink.size,), 1, 5), "steps": filled((2,), 0, 5)}
        return KernelCall("tg_view", "tg_view.c", parameters)
    same = {"multiplier": 1 << 30, "shift": 1}
    widening: Parameters = {"size": sink.size, "in_zero_point": 0, "scale": same, "out_zero_point": 0}
    return KernelCall("tg_wide_widen", "tg_wide_elementwise.c", widening, struct="tg_wide_requantize_t")


@calls(WideQuantize)
def _quantize_call(op: WideQuantize, source: Tensor, sink: Tensor) -> KernelCall:
    functions = {(2, 2): "requantize", (2, 1): "narrow", (1, 2): "widen"}
    parameters: Parameters = {
        "size": sink.size,
        "in_zero_point": op.input_zero_point,
        "scale": scale_fields(op.requant),
        "out_zero_point": op.requant.zero_point,
    }
    function = f"tg_wide_{functions[source.width, sink.width]}"
    return KernelCall(function, "tg_wide_elementwise.c", parameters, struct="tg_wide_requantize_t")


@calls(WideSlopes)
def _slopes_call(op: WideSlopes, _source: Tensor, sink: Tensor) -> KernelCall:
    parameters: Parameters = {
        "size": sink.size,
        "above": scale_fields(op.above),
        "below": scale_fields(op.below),
        "act_min": op.above.act_min,
        "act_max": op.above.act_max,
    }
    return KernelCall("tg_wide_slopes", "tg_wide_elementwise.c", parameters)


@calls(WideCurve)
def _curve_call(op: WideCurve, _source: Tensor, sink: Tensor) -> KernelCall:
    parameters: Parameters = {
        "size": sink.size,
        "multiplier": op.multiplier,
        "shift": op.shift,
        "curve": sigmoid_points(),
    }
    function = f"tg_wide_{op.operator.lower()}"
    return KernelCall(function, "tg_wide_elementwise.c", parameters, struct="tg_wide_curve_t")


@calls(WidePool)
def _pool_call(op: WidePool, source: Tensor, _sink: Tensor) -> KernelCall:
    height, width, channels = source.shape
    parameters: Parameters = {
        "window": window_fields(op.window, (height, width, channels), op.out_shape),
        "act_min": op.act_min,
        "act_max": op.act_max,
    }
    function = f"tg_wide_{op.operator.removesuffix('_POOL_2D').lower()}_pool"
    return KernelCall(function, "tg_wide_pool.c", parameters, struct="tg_wide_pool_t")
