"""Functions of one int8 as tables of 256 entries, in the arithmetic of TFLM's reference kernels.

A table is computed here once, so the device needs neither the function nor its constants. It takes 256 bytes of flash
and one load per element; gemmlowp's logistic alone takes some 60 instructions per element and more code than the table.
Entry i belongs to the input i - 128.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tritguard.errors import BadModelError
from tritguard.graph.arithmetic import gemmlowp
from tritguard.graph.arithmetic.fixed_point import (
    INT8_MAX,
    INT8_MIN,
    activation_range,
    multiply,
    quantize_multiplier,
    wrap,
)
from tritguard.graph.model import Binary, Int8, Int64, Requant, Tensor

_INPUT_INTEGER_BITS = 4  # logistic and tanh take Q4.27


def tabulate(function: Callable[[int], int]) -> Int8:
    """int8[256] of a function of int8, clamped to int8."""
    values = [max(INT8_MIN, min(INT8_MAX, function(q))) for q in range(INT8_MIN, INT8_MAX + 1)]
    return np.array(values, dtype=np.int8)


def logistic(source: Tensor) -> Int8:
    """LOGISTIC to scale 1/256 and zero point -128 (`integer_ops::Logistic`)."""
    return _saturating(source, lambda x: gemmlowp.round_shift(gemmlowp.logistic(x, _INPUT_INTEGER_BITS), 23) - 128)


def tanh(source: Tensor) -> Int8:
    """TANH to scale 1/128 and zero point 0 (`integer_ops::Tanh`)."""
    return _saturating(source, lambda x: gemmlowp.round_shift(gemmlowp.tanh(x, _INPUT_INTEGER_BITS), 24))


def _saturating(source: Tensor, function: Callable[[int], int]) -> Int8:
    """A function of Q4.27 that takes the end of its range where the input leaves [-15, 15]."""
    mantissa, shift = math.frexp(source.scale * (1 << (31 - _INPUT_INTEGER_BITS)))
    multiplier = math.floor(mantissa * (1 << 31) + 0.5)
    radius = math.floor(((1 << _INPUT_INTEGER_BITS) - 1) * (1 << (31 - _INPUT_INTEGER_BITS)) / 2.0**shift)

    def value(q: int) -> int:
        distance = q - source.zero_point
        if abs(distance) >= radius:
            return INT8_MAX if distance > 0 else INT8_MIN
        return function(gemmlowp.multiply(distance, multiplier, shift))

    return tabulate(value)


def _rescaling(real: float) -> Callable[[int], int]:
    multiplier, shift = quantize_multiplier(real)
    return lambda value: gemmlowp.multiply(value, multiplier, shift)


def _ratio(source: Tensor, output: Tensor, factor: float = 1.0) -> float:
    """source scale * factor / output scale, from float32 values in double, as TFLM's preparation computes it."""
    return source.scale * factor / output.scale


def relu(source: Tensor, output: Tensor) -> Int8:
    """RELU with its own rescaling (`ReluQuantized`)."""
    rescaled = _rescaling(_ratio(source, output))
    return tabulate(lambda q: max(output.zero_point, output.zero_point + rescaled(q - source.zero_point)))


def relu6(source: Tensor) -> Int8:
    """RELU6, which TFLM computes without rescaling (`Relu6Quantized`)."""
    low, high = activation_range("RELU6", source.scale, source.zero_point)
    return tabulate(lambda q: min(max(q, low), high))


def leaky_relu(source: Tensor, output: Tensor, alpha: float) -> Int8:
    """LEAKY_RELU (`QuantizeLeakyRelu`)."""
    above, below = _rescaling(_ratio(source, output)), _rescaling(_ratio(source, output, alpha))

    def value(q: int) -> int:
        distance = q - source.zero_point
        return output.zero_point + (above(distance) if distance >= 0 else below(distance))

    return tabulate(value)


def absolute(source: Tensor, output: Tensor) -> Int8:
    """ABS (`AbsEvalQuantized`)."""
    rescaled = _rescaling(_ratio(source, output))
    return tabulate(lambda q: output.zero_point + rescaled(abs(q - source.zero_point)))


def elu(source: Tensor, output: Tensor) -> Int8:
    """ELU, which TFLM computes in float32 once, as a table of its own (`PopulateLookupTable`)."""
    scale, inverse = np.float32(source.scale), np.float32(1) / np.float32(output.scale)

    def value(q: int) -> int:
        x = scale * np.float32(q - source.zero_point)
        y = np.float32(math.exp(x)) - np.float32(1) if x < 0 else x
        steps = float(y * inverse)
        return int(math.copysign(math.floor(abs(steps) + 0.5), steps)) + output.zero_point

    return tabulate(value)


def rsqrt(source: Tensor, output: Tensor) -> Int8:
    """RSQRT of numbers that are not negative; TFLM takes the greatest value for 1 / 0 (`RsqrtEvalQuantized`).

    Entries below the zero point, on which TFLM fails, are the same as that of zero.
    """
    root = np.sqrt(np.float32(source.scale)) * np.float32(output.scale)
    multiplier, shift = quantize_multiplier(1.0 / float(root))
    extra = 20  # bits that keep the inverse root whole

    def value(q: int) -> int:
        distance = q - source.zero_point
        if distance <= 0:
            return INT8_MAX
        inverse, right = gemmlowp.inverse_root(distance)
        data = gemmlowp.multiply(1, inverse, extra - right)
        return gemmlowp.multiply(data, multiplier, shift - extra) + output.zero_point

    return tabulate(value)


def hard_swish(source: Tensor, output: Tensor) -> Int8:
    """HARD_SWISH in 16-bit arithmetic (`reference_ops::HardSwish`).

    Raises:
        BadModelError: the output scale is so small that TFLM refuses it too.
    """
    fine = np.float32(1 / 128) * np.float32(source.scale)
    out_multiplier, out_shift = _multiplier16(float(fine / np.float32(output.scale)))
    gate_multiplier, gate_shift = _multiplier16(float(fine / np.float32(3 / 32768)))
    if out_shift > 0:
        raise BadModelError(f"output scale {output.scale:.3g} is too small for HARD_SWISH")

    def value(q: int) -> int:
        x = (q - source.zero_point) << 7
        scaled = gemmlowp.high_mul(x, out_multiplier, 16)
        gate = gemmlowp.saturate(x << (gate_shift - 1), 16) if gate_shift > 0 else x
        gate = gemmlowp.high_mul(gate, gate_multiplier, 16)
        gate = gemmlowp.saturate(gate << 1, 16) if gate_shift > 0 else gemmlowp.round_shift(gate, -gate_shift)
        gate = (gate + (1 << 15)) >> 1  # relu6(x + 3) / 6 in Q0.15
        product = gemmlowp.truncating_divide(gate * scaled, 1 << 15)
        return gemmlowp.round_shift(product, -out_shift) + output.zero_point

    return tabulate(value)


def _multiplier16(real: float) -> tuple[int, int]:
    """`QuantizeMultiplier` and then `DownScaleInt32ToInt16Multiplier`."""
    multiplier, shift = quantize_multiplier(real)
    return min((multiplier + (1 << 15)) >> 16, (1 << 15) - 1), shift


def with_constant(op: Binary) -> Int8:
    """int8[256]: a `Binary` of which one operand is a single constant, as a table over the other operand."""
    where = 0 if op.constants[0] is not None else 1
    constant = op.constants[where]
    assert constant is not None
    every, fixed = np.arange(INT8_MIN, INT8_MAX + 1), constant.values[:1].astype(np.int64)
    return pairs(op, *((fixed, every) if where == 0 else (every, fixed))).astype(np.int8)


def pairs(op: Binary, a: Int64, b: Int64) -> Int64:
    """The outputs of a `Binary` for int8 steps a and b, int64 arrays of at least one axis that broadcast."""
    raw = _PAIRS[op.operator](op, a - op.zero_points[0], b - op.zero_points[1]) + op.requant.zero_point
    return np.clip(raw, op.requant.act_min, op.requant.act_max)


def _scaled(values: Int64, requant: Requant) -> Int64:
    shifted = wrap(values << np.maximum(requant.shift, 0).astype(np.int64))
    return multiply(shifted, requant.multiplier, np.minimum(requant.shift, 0))


def _terms(op: Binary, a: Int64, b: Int64) -> tuple[Int64, Int64]:
    """Both operands in their common scale."""
    assert op.operand_requants is not None
    left, right = (_scaled(x << op.left_shift, r) for x, r in zip((a, b), op.operand_requants, strict=True))
    return left, right


def _sum(op: Binary, a: Int64, b: Int64, sign: int) -> Int64:
    left, right = _terms(op, a, b)
    return _scaled(wrap(left + sign * right), op.requant)


def _squared_difference(op: Binary, a: Int64, b: Int64) -> Int64:
    left, right = _terms(op, a, b)
    return _scaled((left - right) ** 2, op.requant)


def _prelu(op: Binary, a: Int64, b: Int64) -> Int64:
    assert op.operand_requants is not None
    return np.where(a >= 0, _scaled(a, op.operand_requants[0]), _scaled(a * b, op.operand_requants[1]))


_PAIRS: dict[str, Callable[[Binary, Int64, Int64], Int64]] = {
    "ADD": lambda op, a, b: _sum(op, a, b, 1),
    "SUB": lambda op, a, b: _sum(op, a, b, -1),
    "MUL": lambda op, a, b: _scaled(a * b, op.requant),
    "PRELU": _prelu,
    "SQUARED_DIFFERENCE": _squared_difference,
    "MAXIMUM": lambda _op, a, b: np.maximum(a, b),
    "MINIMUM": lambda _op, a, b: np.minimum(a, b),
}
