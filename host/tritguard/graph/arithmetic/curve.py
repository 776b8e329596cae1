"""TFLM's 16-bit functions, which are piecewise linear between points: sigmoid, tanh, and the parts of a softmax.

Sigmoid and tanh are computed in the integers of `tg_lstm.c`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.graph.model import Int64

Float32 = NDArray[Any]  # float32, in which all points are computed

_LAST = 255  # the point of the sigmoid from which it is flat
_STEPS = 512  # each stands for 128 int16 values
_RANGE = np.float32(65535)


def sigmoid_points() -> NDArray[np.uint16]:
    """uint16[256]: the sigmoid at i / 24 in units of 2^-16, but for the last entry, which is the largest uint16.

    The points lie off the curve by half of the greatest error of the straight lines between them, so that the error is
    as large on one side as on the other.
    """
    sigmoid = 1 / (1 + np.exp(-np.arange(_LAST + 1) / 24))
    bend = sigmoid * (1 - sigmoid) * (1 - 2 * sigmoid)  # the second derivative
    points = np.round(65536 * (sigmoid - bend / 16 / 24**2)).astype(np.uint16)
    points[-1] = 65535
    return points


def exponential_points() -> NDArray[np.int16]:
    """int16[513]: exp(x) for x from -10 to 0 in units of 2^-15; TFLM's 16-bit softmax interpolates them linearly."""
    return _points(np.float32(10) / _RANGE, (1 << 15) - 1, np.exp)


def reciprocal_points() -> NDArray[np.int16]:
    """int16[513]: 1 / (1 + x) for x from 0 to 1 in units of 2^-15, interpolated linearly as well."""
    return _points(np.float32(1) / _RANGE, -(1 << 15), lambda x: np.float32(1) / (np.float32(1) + x))


def _points(scale: np.float32, zero_point: int, function: Callable[[Float32], Float32]) -> NDArray[np.int16]:
    """The points of `LUTPopulate`, in float32: off the curve by half of the error in the middle of each line."""
    low, high = (scale * np.float32(end - zero_point) for end in (-(1 << 15), (1 << 15) - 1))
    step = (high - low) / np.float32(_STEPS)
    out_low, out_high = (np.float32(2) / _RANGE * np.float32(end) for end in (-(1 << 15), (1 << 15) - 1))
    inverse = np.float32(1 << 16) / (out_high - out_low)
    x = low + np.arange(_STEPS, dtype=np.float32) * step
    here, middle = (_rounded(function(at) * inverse) for at in (x, x + step / 2))
    next_ = function(low + np.arange(1, _STEPS + 1, dtype=np.float32) * step) * inverse
    error = _rounded((next_ + here) / 2) - middle
    last = _rounded(function(np.array([high])) * inverse)
    points = np.concatenate([here - _rounded(error / 2), last])
    return np.asarray(np.clip(points, -(1 << 15), (1 << 15) - 1), dtype=np.int16)


def _rounded(values: Float32) -> Float32:
    """Round to integers, halves away from zero."""
    return np.asarray(np.trunc(values + np.copysign(np.float32(0.5), values)))


def turned(power: int) -> tuple[int, int]:
    """The multiplier, and the right shift after it, that turn steps of 2^power into thirds of 2^-12, as tanh needs."""
    shift = 12 + power
    return 3 << max(shift, 0), max(-shift, 0)


def sigmoid(x: Int64) -> Int64:
    """The sigmoid of x, which is in steps of 2^-12; the result is in steps of 2^-15."""
    value = _on_curve(np.abs(3 * x), 9, 0x7FFF << 10)
    return np.asarray(np.where(x >= 0, value + (1 << 9), (1 << 25) - value + (1 << 9) - 1) >> 10)


def hyperbolic(x: Int64, power: int) -> Int64:
    """The tanh of x, which is in steps of 2^power, as 2 sigmoid(2 x) - 1; the result is in steps of 2^-15."""
    multiplier, shift = turned(power)
    place = ((x * multiplier) + ((1 << shift) >> 1)) >> shift
    value = _on_curve(np.abs(place), 8, 0xFFFF << 8)
    return np.asarray(np.where(place >= 0, value - (1 << 23) + (1 << 7), (1 << 23) - value + (1 << 7) - 1) >> 8)


def _on_curve(size: Int64, bits: int, most: int) -> Int64:
    """The curve at size / 2^bits, linear between its points, in units of 2^-(16 + bits); `most` beyond its end."""
    curve = sigmoid_points().astype(np.int64)
    at = np.minimum(size >> bits, _LAST - 1)
    line = (curve[at] << bits) + (size & ((1 << bits) - 1)) * (curve[at + 1] - curve[at])
    return np.asarray(np.where(size >> bits >= _LAST, most, line))
