"""Lines below and above the staircases of a graph, for linear relaxation.

A staircase f rises, and stays within `error` of a line g before its clamp. Between two sums l and u it is therefore
between clamp(g - error) and clamp(g + error), both clamped to what f is at l and at u. Below the first lies each line
that turns around the corner where g - error leaves the lower clamp, with a slope from 0 to that at which it meets
the upper clamp at u, and never steeper than g; above the second lies the mirror image. That is DeepPoly's and CROWN's
relaxation of ReLU (Singh et al. 2019; Zhang et al. 2018, 1811.00866), with a clamp on each side and the rounding in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tritguard.certify.box import Box
from tritguard.certify.steps import Steps
from tritguard.graph.model import Float64

# A line's offset is computed in fewer than 16 float64 operations; the slack is this share of the numbers in them.
_SLACK = 2.0**-40


@dataclass(frozen=True, eq=False)
class Lines:
    """For each element, low_slope * s + low_offset <= f(s) <= high_slope * s + high_offset.

    This holds in real numbers: the offsets are rounded outwards far enough that float64 cannot make it false.

    Attributes:
        low_slope, low_offset, high_slope, high_offset: float64[n, ...].
    """

    low_slope: Float64
    low_offset: Float64
    high_slope: Float64
    high_offset: Float64

    @classmethod
    def flat(cls, outputs: Box) -> Lines:
        """The lines that say no more than the bounds of the outputs."""
        zero = np.zeros(outputs.low.shape)
        return cls(zero, outputs.low.astype(np.float64), zero, outputs.high.astype(np.float64))


def corners(steps: Steps, sums: Box, outputs: Box) -> tuple[Float64, Float64]:
    """The sums, within their bounds, where the lower line leaves the low clamp and the upper one reaches the high."""
    with np.errstate(divide="ignore", invalid="ignore"):
        leaves = (outputs.low + steps.error - steps.offset) / steps.slope
        reaches = (outputs.high - steps.error - steps.offset) / steps.slope
    leaves, reaches = (np.where(np.isfinite(each), each, sums.low) for each in (leaves, reaches))
    return np.clip(leaves, sums.low, sums.high), np.clip(reaches, sums.low, sums.high)


def staircase_lines(steps: Steps, sums: Box, outputs: Box) -> Lines:
    """The lines of a staircase between bounds of its sums; flat where a sum may wrap.

    Where the slope may be chosen, it is the one that leaves the smaller area between line and staircase.

    Args:
        steps: the staircase.
        sums: the bounds of its sums, int64[n, ...].
        outputs: the bounds that `steps.bounds` gives for them.
    """
    low, high = outputs.low.astype(np.float64), outputs.high.astype(np.float64)
    first, last = sums.low.astype(np.float64), sums.high.astype(np.float64)
    leaves, reaches = corners(steps, sums, outputs)
    rise = np.where(steps.fits(sums), high - low, 0.0)
    rising_after, rising_before = last - leaves, reaches - first
    with np.errstate(divide="ignore", invalid="ignore"):
        low_slope = np.minimum(steps.slope, rise / rising_after)
        high_slope = np.minimum(steps.slope, rise / rising_before)
    low_slope = np.where((rise > 0) & (rising_after > leaves - first), low_slope, 0.0)
    high_slope = np.where((rise > 0) & (rising_before > last - reaches), high_slope, 0.0)
    size = np.abs(low) + np.abs(high) + abs(steps.offset) + 2
    farthest = np.maximum(np.abs(first), np.abs(last))
    return Lines(
        low_slope,
        low - low_slope * leaves - np.where(low_slope > 0, _SLACK * (size + low_slope * farthest), 0),
        high_slope,
        high - high_slope * reaches + np.where(high_slope > 0, _SLACK * (size + high_slope * farthest), 0),
    )
