"""gemmlowp's fixed-point functions in Python integers, for tables that the generator computes instead of the device.

Qm.n is a signed number with m integer and n fraction bits, m + n = 31. Each function gives the bits that the C++
template of the same name gives (gemmlowp/fixedpoint/fixedpoint.h, as TFLM's reference kernels use it).
"""

from __future__ import annotations

_INT32_MIN, _INT32_MAX = -(1 << 31), (1 << 31) - 1
_ONE = _INT32_MAX  # Q0.31 has no 1: its greatest value stands for it
_SUM_INTEGER_BITS = 12  # the sum of a softmax has this many bits before the point
_EXP_FACTORS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)  # exp(-2^i), i = -2 ... 4


def wrap(a: int) -> int:
    """The low 32 bits of a as a signed number."""
    return ((a + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def saturate(a: int, bits: int = 32) -> int:
    """The nearest value that a signed word of `bits` bits holds."""
    return max(-(1 << (bits - 1)), min((1 << (bits - 1)) - 1, a))


def truncating_divide(a: int, b: int) -> int:
    """C's division by a positive b, which rounds towards zero."""
    return a // b if a >= 0 else -(-a // b)


def high_mul(a: int, b: int, bits: int = 32) -> int:
    """`SaturatingRoundingDoublingHighMul` of words of 16 or 32 bits: round(a * b / 2^(bits - 1)), halves up."""
    product = a * b
    nudge = (1 << (bits - 2)) if product >= 0 else 1 - (1 << (bits - 2))
    return saturate(truncating_divide(product + nudge, 1 << (bits - 1)), bits)


def round_shift(a: int, bits: int) -> int:
    """`RoundingDivideByPOT`: round(a / 2^bits), halves away from zero."""
    mask = (1 << bits) - 1
    return (a >> bits) + ((a & mask) > (mask >> 1) + (a < 0))


def multiply(a: int, multiplier: int, shift: int) -> int:
    """`MultiplyByQuantizedMultiplier` with two roundings: a * multiplier / 2^31 * 2^shift."""
    return round_shift(high_mul(wrap(a << max(shift, 0)), multiplier), max(-shift, 0))


def _half_sum_with_one(a: int) -> int:
    return truncating_divide(a + _ONE + (1 if a + _ONE >= 0 else -1), 2)  # `RoundingHalfSum`


def _exp_of_last_quarter(a: int) -> int:
    x = a + (1 << 28)
    x2 = high_mul(x, x)
    x3, x4 = high_mul(x2, x), high_mul(x2, x2)
    higher = round_shift(high_mul(round_shift(x4, 2) + x3, 715827883) + x2, 1)
    return wrap(1895147668 + high_mul(1895147668, x + higher))


def exp_on_negative_values(a: int, integer_bits: int) -> int:
    """exp(a) for a <= 0: Qm.n with m = integer_bits -> Q0.31."""
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    in_last_quarter = (a & (quarter - 1)) - quarter
    result = _exp_of_last_quarter(wrap(in_last_quarter << integer_bits))
    rest = in_last_quarter - a
    for exponent, factor in enumerate(_EXP_FACTORS, start=-2):
        if integer_bits > exponent and rest >> (fraction_bits + exponent) & 1:
            result = high_mul(result, factor)
    return _ONE if a == 0 else result


def _newton_reciprocal(half_denominator: int) -> int:
    """1 / (2 * half_denominator), Q0.31 -> Q2.29 times 2: three Newton-Raphson steps."""
    x = 1515870810 + high_mul(half_denominator, -1010580540)
    for _ in range(3):
        error = (1 << 29) - high_mul(half_denominator, x)
        x = wrap(x + saturate(high_mul(x, error) << 2))
    return x


def inverse_root(a: int) -> tuple[int, int]:
    """(multiplier, right shift) of 1 / sqrt(a), with 0 taken as 1: `GetInvSqrtQuantizedMultiplierExp`, in Q3.28."""
    if a <= 1:
        return _INT32_MAX, 0
    quarters = max(0, (a.bit_length() - 28) // 2)
    a >>= 2 * quarters
    pairs = (31 - a.bit_length()) // 2 - 1
    right = 11 + quarters - pairs
    half = round_shift((a << 2 * pairs) >> 1, 1)
    x, three_halves = 1 << 28, (1 << 28) + (1 << 27)
    for _ in range(5):
        cube = _rescale(high_mul(high_mul(x, x), x), 6)
        x = _rescale(wrap(high_mul(three_halves, x) - high_mul(half, cube)), 3)
    x = high_mul(x, 1518500250)  # sqrt(1 / 2)
    return (wrap(x << -right), 0) if right < 0 else (x, right)


def _rescale(a: int, bits: int) -> int:
    """`Rescale` to `bits` fewer integer bits, saturating."""
    return saturate(a << bits)


def logistic(a: int, integer_bits: int) -> int:
    """1 / (1 + exp(-a)): Qm.n with m = integer_bits -> Q0.31."""
    if a == 0:
        return 1 << 30
    exponential = exp_on_negative_values(-abs(a), integer_bits)
    positive = saturate(_newton_reciprocal(_half_sum_with_one(exponential)) << 1)
    return positive if a > 0 else _ONE - positive


def tanh(a: int, integer_bits: int) -> int:
    """tanh(a): Qm.n with m = integer_bits -> Q0.31."""
    if a == 0:
        return 0
    # 2 * |a| is |a| with one integer bit more.
    exponential = exp_on_negative_values(-abs(a), integer_bits + 1)
    positive = saturate(wrap(_newton_reciprocal(_half_sum_with_one(exponential)) - (1 << 29)) << 2)
    return positive if a > 0 else -positive


def softmax(row: list[int], multiplier: int, left_shift: int, diff_min: int) -> list[int]:
    """The softmax of int8 steps, in steps of 1/256 from -128, as TFLM computes it from `softmax_parameters`."""
    greatest = max(row)
    exponentials = [
        exp_on_negative_values(high_mul(wrap((q - greatest) << left_shift), multiplier), 5)
        if q - greatest >= diff_min
        else 0
        for q in row
    ]
    total = wrap(sum(round_shift(term, _SUM_INTEGER_BITS) for term in exponentials))
    headroom = 32 - total.bit_length()
    reciprocal = _newton_reciprocal(_half_sum_with_one((total << headroom) - (1 << 31)))
    scale = saturate(reciprocal << 1)
    right = _SUM_INTEGER_BITS - headroom + 31 - 8
    return [saturate(round_shift(high_mul(scale, term), right) - 128, 8) for term in exponentials]


def l2_normalization(row: list[int]) -> list[int]:
    """Distances from a zero point, each divided by the root of the sum of all squares, in steps of 1/128."""
    multiplier, right = inverse_root(sum(a * a for a in row))
    return [saturate(multiply(a, multiplier, 7 - right), 8) for a in row]


def log_of_sum(a: int) -> int:
    """log(a) for a from 1 to 4096: Q12.19 -> Q5.26, `log_x_for_x_greater_than_or_equal_to_1`.

    a is written as r * 2^e with r around sqrt(sqrt(1/2)); r is the lesser of those that a and a * sqrt(1/2) give. Sums
    are kept in Q6.25.
    """
    root, root_of_root, quarter = 1518500250, 1805811301, 1 << 23  # sqrt(1/2), sqrt(sqrt(1/2)), 1/4
    zeros = 32 - a.bit_length()
    headroom = 31 - high_mul(a, root).bit_length()
    r = min(saturate(high_mul(a << (zeros - 1), root) << 1), saturate(a << headroom))
    e = max(((_SUM_INTEGER_BITS - zeros) << 25) + quarter, ((_SUM_INTEGER_BITS - headroom) << 25) - quarter)
    q = 2 * (r - root_of_root)
    q2 = high_mul(q, q)
    numerator = high_mul(q, r) + high_mul(high_mul(q, q2), 117049297)  # 11/240 * 2^(1/4)
    middle = (r + root_of_root + 1) // 2
    denominator = high_mul(middle, 1057819769 + q + high_mul(127690142, q2)) + high_mul(638450708, q)
    reciprocal = saturate(_newton_reciprocal(_half_sum_with_one(denominator)) << 1)
    return saturate((high_mul(e, 1488522236) + high_mul(round_shift(numerator, 6), reciprocal)) << 1)


def log_softmax(row: list[int], forward: tuple[int, int], back: tuple[int, int], diff_min: int) -> list[int]:
    """The logarithm of a softmax of int8 steps, in steps of 1/16 from 127, as TFLM's int8 kernel computes it.

    Args:
        row: the inputs, int8.
        forward: multiplier and shift from the input's steps to Q5.26, from `softmax_parameters`.
        back: multiplier and shift from Q5.26 to the input's steps, from `log_softmax_back`.
        diff_min: from `softmax_parameters`.
    """
    greatest = max(row)
    differences = [multiply(q - greatest, *forward) for q in row]
    exponentials = [
        exp_on_negative_values(d, 5) for q, d in zip(row, differences, strict=True) if q - greatest >= diff_min
    ]
    log_sum = log_of_sum(sum(round_shift(term, _SUM_INTEGER_BITS) for term in exponentials))
    least = max(diff_min - 1, multiply(log_sum + _INT32_MIN, *back))
    return [
        saturate(round_shift(wrap(d - log_sum), 22) + 127, 8) if q - greatest > least else -128
        for q, d in zip(row, differences, strict=True)
    ]
