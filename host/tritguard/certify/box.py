"""Boxes of whole numbers, and the inputs that an attacker may use as one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritguard.attack import Ball
from tritguard.graph.model import Float64, Int8, Int64

Bool = NDArray[np.bool_]
_TINY = 1e-12  # how far a norm's steepest descent may fall short where slopes are nearly zero


@dataclass(frozen=True, eq=False)
class Box:
    """Inclusive bounds, one box for each sample.

    Attributes:
        low: int64[n, ...].
        high: int64[n, ...], nowhere below `low` unless the box is empty.
    """

    low: Int64
    high: Int64

    @classmethod
    def point(cls, values: Int8 | Int64) -> Box:
        """The boxes that hold one value each, of whole numbers [n, ...]."""
        wide = values.astype(np.int64)
        return cls(wide, wide)

    @property
    def empty(self) -> Bool:
        """bool[n]: whether no value lies inside."""
        return np.asarray((self.low > self.high).reshape(len(self.low), -1).any(axis=1))

    def rows(self, chosen: Int64 | Bool | slice) -> Box:
        """The boxes of some samples."""
        return Box(self.low[chosen], self.high[chosen])

    def meet(self, other: Box) -> Box:
        """The boxes of what lies in both."""
        return Box(np.maximum(self.low, other.low), np.minimum(self.high, other.high))

    def shaped(self, shape: tuple[int, ...]) -> Box:
        """The same elements of each sample in another shape."""
        return Box(*(bound.reshape(len(bound), *shape) for bound in (self.low, self.high)))


@dataclass(frozen=True, eq=False)
class Region:
    """The inputs that are considered: those of a box that lie in a ball too.

    Attributes:
        box: one box for each sample.
        clean: int8[n, *input_shape], the centres of the balls.
        ball: the attacker's ball; all that it allows lies in `box`, unless a search has cut the box.
    """

    box: Box
    clean: Int8
    ball: Ball

    @classmethod
    def of(cls, ball: Ball, clean: Int8) -> Region:
        """All that the ball allows around clean inputs, int8[n, *input_shape].

        No element can move by more than the radius: the largest change of an element is never above the L2 norm, nor
        above any other Lp norm. A clean value outside the data's range stays where it is, as `Ball.to_grid` leaves it.
        """
        wide = clean.astype(np.int64)
        low, high = np.maximum(wide - ball.eps, ball.low), np.minimum(wide + ball.eps, ball.high)
        return cls(Box(np.minimum(low, wide), np.maximum(high, wide)), clean, ball)

    def rows(self, chosen: Int64 | Bool | slice) -> Region:
        """The regions of some samples."""
        return Region(self.box.rows(chosen), self.clean[chosen], self.ball)

    def least(self, slopes: Float64) -> Float64:
        """A lower bound of a linear function over each region, float64[n, m].

        Args:
            slopes: float64[n, m, *input_shape]; the function is the sum of slopes times inputs.

        Returns:
            The larger of the minima over the box and over the ball. The latter is the value at the centre minus the
            radius times the steepest descent of length one, for the ball's norm (duality of norms).
        """
        n, m = slopes.shape[:2]
        over_box = least_in(self.box, slopes)
        if self.ball.geometry.box:
            return over_box
        flat = slopes.reshape(n * m, *self.clean.shape[1:])
        steepest = np.asarray(self.ball.geometry.steepest(flat), np.float64)
        gain = (flat * steepest).reshape(n, m, -1).sum(axis=2) + _TINY
        centre = (slopes.reshape(n, m, -1) * self.clean.reshape(n, 1, -1)).sum(axis=2)
        return np.asarray(np.maximum(over_box, centre - self.ball.eps * gain))


def least_in(box: Box, slopes: Float64) -> Float64:
    """The minimum of linear functions, slopes float64[n, m, ...], over each box: float64[n, m]."""
    low, high = box.low.astype(np.float64), box.high.astype(np.float64)
    return inner(slopes, (low + high) / 2) - inner(np.abs(slopes), (high - low) / 2)


def inner(slopes: Float64, values: Float64) -> Float64:
    """The sums, float64[n, m], of slopes, float64[n, m, ...], times values, float64[n, ...]."""
    n, m = slopes.shape[:2]
    return np.asarray(np.matmul(slopes.reshape(n, m, -1), values.reshape(n, -1, 1))[:, :, 0])
