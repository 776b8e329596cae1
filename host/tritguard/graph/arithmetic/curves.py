"""TFLM's sigmoid and tanh of 16 bits: straight lines between 256 points, in the integers of `tg_lstm.c`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tritguard.graph.model import Int64

_LAST = 255  # the point from which on the curve is flat


def points() -> NDArray[np.uint16]:
    """TFLM's points of the sigmoid: at i / 24, in 2^-16, the last of them the largest number there is.

    They lie off the curve by half of the greatest error of the straight lines between them, which is then as large to
    both sides.
    """
    sigmoid = 1 / (1 + np.exp(-np.arange(_LAST + 1) / 24))
    bend = sigmoid * (1 - sigmoid) * (1 - 2 * sigmoid)  # the second derivative
    found = np.round(65536 * (sigmoid - bend / 16 / 24**2)).astype(np.uint16)
    found[-1] = 65535
    return found


def turned(power: int) -> tuple[int, int]:
    """The multiplier, and the right shift behind it, from steps of 2^power to thirds of the curve's steps."""
    shift = 12 + power
    return 3 << max(shift, 0), max(-shift, 0)


def sigmoid(x: Int64) -> Int64:
    """The sigmoid of steps of 2^-12, in steps of 2^-15."""
    value = _on_curve(np.abs(3 * x), 9, 0x7FFF << 10)
    return np.asarray(np.where(x >= 0, value + (1 << 9), (1 << 25) - value + (1 << 9) - 1) >> 10)


def hyperbolic(x: Int64, power: int) -> Int64:
    """The tanh of steps of 2^power, in steps of 2^-15: tanh(x) = 2 sigmoid(2 x) - 1."""
    multiplier, shift = turned(power)
    place = ((x * multiplier) + ((1 << shift) >> 1)) >> shift
    value = _on_curve(np.abs(place), 8, 0xFFFF << 8)
    return np.asarray(np.where(place >= 0, value - (1 << 23) + (1 << 7), (1 << 23) - value + (1 << 7) - 1) >> 8)


def _on_curve(size: Int64, bits: int, most: int) -> Int64:
    """The curve at size / 2^bits, a straight line between its points; beyond its end `most`."""
    curve = points().astype(np.int64)
    at = np.minimum(size >> bits, _LAST - 1)
    line = (curve[at] << bits) + (size & ((1 << bits) - 1)) * (curve[at + 1] - curve[at])
    return np.asarray(np.where(size >> bits >= _LAST, most, line))
