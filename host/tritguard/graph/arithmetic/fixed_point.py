"""Fixed-point parameters, computed in the precision TFLM computes them in.

TFLM takes scales as float32, widens them to double before it multiplies (per-channel layers) or after
(per-tensor dense layers), and splits the product into a 31-bit mantissa and an exponent. The last bit of the
mantissa decides output bytes, so each function here names the arithmetic it follows.
"""

from __future__ import annotations

import math

import numpy as np

from tritguard.errors import BadModelError
from tritguard.graph.model import Float64, Int32, Int64, Requant

INT8_MIN, INT8_MAX = -128, 127
INT16_MIN, INT16_MAX = -(1 << 15), (1 << 15) - 1
MAX_SHIFT = 30
MOST_WIDE_SHIFT = 7


def quantize_multiplier(real: float) -> tuple[int, int]:
    """Split a real multiplier into (mantissa, shift): real = mantissa / 2^31 * 2^shift.

    TFLM's `QuantizeMultiplier`: mantissa in [2^30, 2^31), halves rounded away from zero; multipliers below 2^-32
    become zero.

    Raises:
        BadModelError: `real` is not finite, negative, or so large that the device's 32-bit shift would overflow.
    """
    if not math.isfinite(real) or real < 0:
        raise BadModelError(f"a rescaling factor is {real}", fix="the model's scales are broken")
    if real == 0:
        return 0, 0
    mantissa, shift = math.frexp(real)
    fixed = math.floor(mantissa * (1 << 31) + 0.5)
    if fixed == 1 << 31:
        fixed //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    if shift > MAX_SHIFT:
        raise BadModelError(f"a rescaling factor is {real:.3g}, beyond 2^{MAX_SHIFT}")
    return fixed, shift


def requant(reals: Float64, zero_point: int, act: tuple[int, int]) -> Requant:
    """The Requant of real multipliers, float64[n]."""
    pairs = [quantize_multiplier(float(real)) for real in reals]
    return Requant(
        multiplier=np.array([pair[0] for pair in pairs], dtype=np.int32),
        shift=np.array([pair[1] for pair in pairs], dtype=np.int32),
        zero_point=zero_point,
        act_min=act[0],
        act_max=act[1],
    )


def multiply(acc: Int64, multiplier: Int32, shift: Int32) -> Int64:
    """Multiply as `tg_multiply` of the kernels does, with two roundings but without its 32-bit wrap.

    The caller keeps |acc * 2^shift| and the result below 2^31.
    """
    left, right = np.maximum(shift, 0).astype(np.int64), np.maximum(-shift, 0).astype(np.int64)
    high = ((acc << left) * multiplier.astype(np.int64) + (1 << 30)) >> 31
    mask = (np.int64(1) << right) - 1
    threshold = (mask >> 1) + (high < 0)
    return np.asarray((high >> right) + ((high & mask) > threshold), dtype=np.int64)


def requantise(sums: Int64, requant: Requant) -> Int64:
    """Requantise accumulators to int8 steps, with sums that wrap at 32 bits wherever those of the device do.

    Args:
        sums: int64[..., n]; n is the number of channels if `requant` has one entry per channel.
        requant: the rescaling.
    """
    shifted = wrap(wrap(sums) << np.maximum(requant.shift, 0))
    scaled = multiply(shifted, requant.multiplier, np.minimum(requant.shift, 0))
    return np.clip(wrap(scaled + requant.zero_point), requant.act_min, requant.act_max)


def wrap(values: Int64) -> Int64:
    """The low 32 bits of each value, as a signed number."""
    return values.astype(np.int32).astype(np.int64)


def activation_range(
    activation: str, scale: float, zero_point: int, limits: tuple[int, int] = (INT8_MIN, INT8_MAX)
) -> tuple[int, int]:
    """The clamp of a fused activation, NONE, RELU, RELU_N1_TO_1 or RELU6, within the limits of the output's type.

    TFLM's `CalculateActivationRangeQuantized`, in float32.

    Raises:
        BadModelError: the scale is so small that the bound leaves 32 bits, where TFLM refuses too.
    """
    lowest, highest = limits
    if activation == "NONE":
        return limits

    def quantized(real: float) -> int:
        ratio = float(np.float32(real) / np.float32(scale))
        if abs(ratio) > 1 << 31:
            raise BadModelError(f"output scale {scale:.3g} is too small for {activation}")
        return zero_point + int(math.copysign(math.floor(abs(ratio) + 0.5), ratio))

    low, high = {"RELU": (0.0, math.inf), "RELU_N1_TO_1": (-1.0, 1.0), "RELU6": (0.0, 6.0)}[activation]
    return max(lowest, quantized(low)), highest if high == math.inf else min(highest, quantized(high))


def wide_multiplier(multiplier: int, shift: int) -> tuple[int, int]:
    """The 15-bit multiplier and the right shift by which TFLM rescales 64-bit sums (`MultiplyByQuantizedMultiplier`).

    Args:
        multiplier, shift: as `quantize_multiplier` gives them.

    Raises:
        BadModelError: the factor is 2^7 or more, which TFLM's arithmetic does not reach.
    """
    if shift > MOST_WIDE_SHIFT:
        raise BadModelError(f"a rescaling factor of 2^{MOST_WIDE_SHIFT} or more for 64-bit sums")
    reduced = (multiplier + (1 << 15)) >> 16 if multiplier < 0x7FFF0000 else 0x7FFF
    return reduced, 15 - shift


def mean_multiplier(real: float, positions: int) -> tuple[int, int]:
    """The multiplier of a mean: TFLM's `QuantizedMeanOrSum` folds 1/positions into the mantissa, rounding down."""
    mantissa, shift = quantize_multiplier(real)
    extra = min(positions.bit_length() - 1, 32, 31 + shift)
    return (mantissa << extra) // positions, shift - extra


def softmax_parameters(beta: float, input_scale: float) -> tuple[int, int, int]:
    """(multiplier, left shift, diff_min) of TFLM's int8 softmax, with 5 integer bits for the difference.

    Raises:
        BadModelError: beta * input_scale is so small that TFLM refuses it too.
    """
    integer_bits = 5
    real = min(beta * input_scale * (1 << (31 - integer_bits)), (1 << 31) - 1.0)
    if not real > 1.0:
        raise BadModelError(f"softmax with beta * input scale = {beta * input_scale:.3g} is below 2^-26")
    mantissa, shift = math.frexp(real)
    fixed = math.floor(mantissa * (1 << 31) + 0.5)
    if fixed == 1 << 31:
        fixed //= 2
        shift += 1
    radius = math.floor(((1 << integer_bits) - 1) * (1 << (31 - integer_bits)) / (1 << shift))
    return fixed, shift, -radius


def log_softmax_back(multiplier: int, left_shift: int) -> tuple[int, int]:
    """(multiplier, shift) from Q5.26 to input steps, which undo the first two of `softmax_parameters`."""
    return quantize_multiplier((1 << (31 - left_shift)) / multiplier)
