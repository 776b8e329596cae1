"""Bounds of gemmlowp's softmax and of its logarithm, which differ from the real functions.

Let E(d) be the fixed-point exponential of an element that lies d steps below the row's largest one: a function of d
alone, tabulated here. An output is 256 * E / (sum of all E), rounded to the nearest step. The sum is kept with 12 bits
fewer, each term rounded, and its reciprocal comes from three Newton-Raphson steps; the start is off by at most 1/17, a
step squares that, and each step's roundings add a few units of 2^-29. All of it moves an output by less than `SLACK`
steps for rows of up to `LONGEST` elements, whose largest exponential alone is 1.

The logarithm is 16 * (d - log(sum of all E)), rounded, with d in Q5.26. It is bounded through real numbers: the rounded
terms move the sum by at most 2^-11 of it, 2^-7 of a step, and the quotient that stands for the logarithm by less. Where
one step of the input is so wide (`WIDEST`) that TFLM's factor is cut off, nothing is claimed.
"""

from __future__ import annotations

import numpy as np

from tritguard.certify.box import Box
from tritguard.graph.arithmetic import gemmlowp
from tritguard.graph.model import Float64, LogSoftmax, Softmax

Steps = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
LONGEST = 512
SLACK = 1 / 4  # 256 * 512 * 2^-20 = 1/8 of a step from the rounded terms, and far less from the reciprocal
WIDEST = 32.0  # the scale of the logarithm's input at which its factor reaches 2^31
_SIZE = 256
_STEPS = 16  # output steps for a logarithm of 1


def exponentials(op: Softmax) -> Float64:
    """float64[256]: E(d) for d = 0 to 255, whole numbers of which 2^31 - 1 stands for 1."""
    values = [
        gemmlowp.exp_on_negative_values(gemmlowp.high_mul(gemmlowp.wrap(-d << op.left_shift), op.multiplier), 5)
        if -d >= op.diff_min
        else 0
        for d in range(_SIZE)
    ]
    return np.array(values, np.float64)


def falls(table: Float64) -> bool:
    """Whether E never rises with the distance: a larger input then never gets the smaller output."""
    return bool((np.diff(table) <= 0).all())


def bounds(op: Softmax, table: Float64, source: Box) -> Box:
    """What the outputs can be where the inputs are in a box, both of any shape."""
    shape, n = source.low.shape, len(source.low)
    low, high = (bound.reshape(n, op.rows, -1) for bound in (source.low, source.high))
    if low.shape[2] > LONGEST or not falls(table):
        return Box(np.full(shape, -128), np.full(shape, 127))
    farthest = high.max(axis=2, keepdims=True) - low
    nearest = np.maximum(_others(low) - high, 0)
    least, most = table[np.clip(farthest, 0, _SIZE - 1)], table[np.clip(nearest, 0, _SIZE - 1)]
    share_low = least / (least + np.maximum(most.sum(axis=2, keepdims=True) - most, 0) + 1)
    share_high = most / np.maximum(most + np.maximum(least.sum(axis=2, keepdims=True) - least, 0), 1)
    outputs = [
        np.floor(256 * share_low + 0.5 - SLACK) - 128,
        np.ceil(256 * share_high - 0.5 + SLACK) - 128,
    ]
    return Box(*(np.clip(each, -128, 127).astype(np.int64).reshape(shape) for each in outputs))


def log_bounds(op: LogSoftmax, scale: float, source: Box) -> Box:
    """What the outputs of a logarithm can be where the inputs, of steps of `scale`, are in a box, both of any shape.

    An element's output rises with it and falls with all others.
    """
    shape, n = source.low.shape, len(source.low)
    low, high = (bound.reshape(n, op.rows, -1) for bound in (source.low, source.high))
    if low.shape[2] > LONGEST or scale >= WIDEST:
        return Box(np.full(shape, -128), np.full(shape, 127))
    least, most = _logarithm(low, high, scale), _logarithm(high, low, scale)
    outputs = [np.floor(_STEPS * least + 127.5 - SLACK), np.ceil(_STEPS * most + 126.5 + SLACK)]
    return Box(*(np.clip(each, -128, 127).astype(np.int64).reshape(shape) for each in outputs))


def _logarithm(own: Steps, others: Steps, scale: float) -> Float64:
    """float64[n, rows, m]: -log(1 + the sum of exp(other - own)) for each element among the others of its row."""
    differences = (others[:, :, None, :] - own[:, :, :, None]) * scale
    own_place = np.eye(own.shape[2], dtype=bool)
    return np.asarray(-np.logaddexp.reduce(np.where(own_place, 0.0, differences), axis=3), np.float64)


def log_strict_distance(op: LogSoftmax, scale: float) -> int:
    """The distance of two inputs from which on the larger one, if it is the row's largest, surely has a larger output.

    Its output is at least -7, so it is not cut off where the other's may be.

    Returns:
        From 1 to 255; 256 if no distance is enough.
    """
    if scale >= WIDEST:
        return _SIZE
    distances = (
        gemmlowp.multiply(-d, op.multiplier, op.left_shift) if -d >= op.diff_min else -1 << 31 for d in range(_SIZE)
    )
    return next((d for d, distance in enumerate(distances) if distance <= -1 << 22), _SIZE)


def _others(low: Steps) -> Steps:
    """The largest of the other elements of each row; -256 where there are none."""
    if low.shape[2] == 1:
        return np.full(low.shape, -_SIZE)
    order = np.sort(low, axis=2)
    first, second = order[:, :, -1:], order[:, :, -2:-1]
    return np.where(low == first, np.where((low == first).sum(axis=2, keepdims=True) > 1, first, second), first)


def strict_distance(table: Float64, classes: int) -> int:
    """The distance of two inputs from which on the larger one, if it is the row's largest, surely has a larger output.

    256 times the difference of both shares has to be at least one step and the slack of both; the shares' sum of
    exponentials is at most that of `classes` ones. The two outputs cannot both be saturated: their shares would sum to
    nearly two.

    Returns:
        From 1 to 255; 256 if no distance is enough.
    """
    enough = _SIZE * (table[0] - table) >= (1 + 2 * SLACK) * classes * (table[0] + 1)
    return int(np.argmax(enough)) if enough.any() else _SIZE
