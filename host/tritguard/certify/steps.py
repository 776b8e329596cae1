"""From sums to int8: TFLM's roundings as monotone staircases, with the line that each of them follows.

Both roundings of a requantisation rise with the sum. The first, gemmlowp's doubling high multiplication, is
floor(sum * 2^left * multiplier / 2^31 + 1/2) with a multiplier that is not negative: a rising line, rounded down. The
second, a rounding shift, takes the nearest whole number of sum / 2^right: of two values the larger one never has the
smaller nearest number, and where two are equally near, the one away from zero is taken on both sides, which keeps the
order too. A clamp keeps it as well. So the ends of an interval of sums map to the ends of an interval of outputs, as
long as no 32-bit number on the way wraps; where one might, an output may be anything its clamp allows.

The first rounding is at most half a unit off, the second half a step; in output steps that is 1/2 + 2^-(right + 1).
Where there is no shift to the right the second does nothing, and 1/2 is left.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from typing_extensions import override

from tritguard.certify.box import Bool, Box
from tritguard.certify.linear import Crop
from tritguard.graph.model import Float64, Int64, Requant
from tritguard.graph.passes.ranges import requantised

_INT32 = np.int64(1) << 31


class Steps(ABC):
    """A staircase f with slope * sum + offset - error <= f(sum) <= slope * sum + offset + error before its clamp.

    Attributes:
        slope: float64, one for each sum or for each channel; exact, or off by less than 2^-52 of it.
        offset: the offset in output steps.
        error: float64, the error in output steps.
        low, high: the clamp.
    """

    slope: Float64
    offset: int
    error: Float64
    low: int
    high: int

    @abstractmethod
    def bounds(self, sums: Box) -> Box:
        """What the outputs can be, in exact integers, given what the sums can be."""

    def cropped(self, out: Crop) -> Steps:
        """The staircase of some pixels of the output."""
        return self

    @abstractmethod
    def fits(self, sums: Box) -> Bool:
        """Where no sum wraps on the way, so that the staircase holds: bool of the sums' shape."""


class Requantisation(Steps):
    """The staircase of a `Requant`."""

    def __init__(self, requant: Requant) -> None:
        self.requant = requant
        self.slope = np.ldexp(requant.multiplier.astype(np.float64), requant.shift - 31)
        self.offset, self.low, self.high = requant.zero_point, requant.act_min, requant.act_max
        right = np.maximum(-requant.shift, 0)
        self.error = 0.5 + np.where(right > 0, np.ldexp(1.0, -(right + 1)), 0.0)

    @override
    def bounds(self, sums: Box) -> Box:
        found = requantised(sums.low, sums.high, self.requant)
        return Box(found.low, found.high)

    @override
    def fits(self, sums: Box) -> Bool:
        left = np.maximum(self.requant.shift, 0).astype(np.int64)
        inside = (sums.low << left >= -_INT32) & (sums.high << left < _INT32)
        far = [np.abs(end * self.slope) < _INT32 - 1024 for end in (sums.low, sums.high)]
        return np.asarray(inside & far[0] & far[1])


class Averaging(Steps):
    """The mean of a window, halves rounded away from zero.

    Args:
        counts: int64[*out_shape], the elements of each window.
        low, high: the clamp.
    """

    def __init__(self, counts: Int64, low: int, high: int) -> None:
        self._counts = counts
        self.slope, self.error = 1 / counts, np.full(counts.shape, 0.5)
        self.offset, self.low, self.high = 0, low, high

    @override
    def bounds(self, sums: Box) -> Box:
        low, high = (
            np.clip(np.sign(end) * ((np.abs(end) + self._counts // 2) // self._counts), self.low, self.high)
            for end in (sums.low, sums.high)
        )
        return Box(low, high)

    @override
    def cropped(self, out: Crop) -> Steps:
        return Averaging(self._counts[slice(*out.rows), slice(*out.columns)], self.low, self.high)

    @override
    def fits(self, sums: Box) -> Bool:
        return np.ones(sums.low.shape, dtype=bool)
