"""What decision-based attacks share. They learn one bit per query: whether an input fools the model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.base import Ball, Crafted, Places, Queries, Target

Float32 = NDArray[np.float32]
_START_TRIES = 20  # half of them with other samples, the rest with random inputs
_BISECTIONS = 10  # they narrow a distance of a few thousand steps down to a few steps


class Frontier:
    """For each sample, the closest input known to fool the model, and the queries it took to find it.

    A sample is done when that input lies in the ball, or when its queries are spent. Points are kept as float32, off
    the grid, so that moves of less than a step add up; the model is always asked about the nearest input on the grid.

    Args:
        target: the attacked model. Only whether the goal is reached is used, even if `access` shows more.
        ball: the norm that distances are measured in, and the distance that is close enough.
        limit: queries per sample.
        rng: the generator of random starts.

    Attributes:
        clean: float32[n, *input_shape], the clean inputs.
        points: float32[n, *input_shape], where each search stands: an input, off the grid, that fools the model.
        distances: float64[n], the distance of the closest input found, in steps; infinite where there is none yet.
    """

    def __init__(self, target: Target, ball: Ball, limit: int, rng: np.random.Generator) -> None:
        self.clean = target.x.astype(np.float32)
        self.points = self.clean.copy()
        self.distances = np.full(len(target.x), np.inf)
        self._target, self._ball, self._limit, self._rng = target, ball, limit, rng
        self._queries = Queries(target)
        self._spent = np.zeros(len(target.x), np.int64)
        self._closest = target.x.copy()

    def active(self, needed: int = 1) -> Places:
        """The samples that are not done, have a point, and have at least `needed` queries left."""
        return np.flatnonzero(
            (self.distances > self._ball.eps) & np.isfinite(self.distances) & (self._spent + needed <= self._limit)
        )

    def ask(self, x: NDArray[np.floating], samples: Places) -> NDArray[np.bool_]:
        """bool[m]: which of [m, *input_shape], candidates for these samples, fool the model."""
        if samples.size == 0:
            return np.zeros(0, bool)
        on_grid = np.asarray(self._ball.clip(np.rint(x)), np.int8)
        fools = self._queries.margins(on_grid, samples) <= 0
        np.add.at(self._spent, samples, 1)
        distances = self._ball.distances(on_grid, self._target.x[samples])
        # If several candidates of one sample fool the model, the closest is written last and stays.
        for row in sorted(
            np.flatnonzero(fools & (distances < self.distances[samples])), key=lambda row: -distances[row]
        ):
            self.distances[samples[row]], self._closest[samples[row]] = distances[row], on_grid[row]
        return np.asarray(fools)

    def start(self) -> None:
        """Find a first point for each sample, however far away, and move it to the edge of the decision.

        The attacker is assumed to hold inputs of its own, here the other samples. The nearest of them that fools the
        model is taken, and a random input if none does.
        """
        everyone = np.arange(len(self.clean))
        self.ask(self.clean, everyone)
        flat = self.clean.reshape(len(self.clean), -1)
        squares = (flat**2).sum(axis=1)
        nearest = np.argsort(squares + squares[:, None] - 2 * flat @ flat.T, axis=1)[:, 1:]
        for attempt in range(_START_TRIES):
            lost = np.flatnonzero(np.isinf(self.distances) & (self._spent < self._limit))
            if lost.size == 0:
                break
            others = attempt < min(_START_TRIES // 2, nearest.shape[1])
            shape = (len(lost), *self.clean.shape[1:])
            x = (
                self.clean[nearest[lost, attempt]]
                if others
                else self._rng.uniform(self._ball.low, self._ball.high, shape)
            )
            fools = self.ask(x, lost)
            self.points[lost[fools]] = x[fools]
        self.to_edge(self.active())

    def to_edge(self, samples: Places) -> None:
        """Bisect between each sample's clean input and its point; the point becomes the closest one that still fools.

        The path between the two is the norm's: see `Norm.towards_clean`.
        """
        if samples.size == 0:
            return
        low, high = np.zeros(len(samples)), np.ones(len(samples))
        start = self.points[samples]
        for _ in range(_BISECTIONS):
            going = np.flatnonzero(self._spent[samples] < self._limit)
            middle = (low + high) / 2
            fools = self.ask(self._between(start, samples, middle)[going], samples[going])
            high[going[fools]], low[going[~fools]] = middle[going[fools]], middle[going[~fools]]
        self.points[samples] = self._between(start, samples, high)

    def lengths(self, samples: Places) -> NDArray[np.float64]:
        """float64[m]: the distances of the points from the clean inputs, in the ball's norm."""
        moved = self.points[samples] - self.clean[samples]
        return np.asarray(self._ball.geometry.lengths(moved.astype(np.float64)), np.float64)

    def crafted(self) -> Crafted:
        """The closest inputs found; those outside the ball are projected into it."""
        x = self._ball.to_grid(self._closest.astype(np.float32), self._target.x)
        return Crafted(x, self._queries.made, gradients=0)

    def _between(self, point: Float32, samples: Places, share: NDArray[np.float64]) -> Float32:
        clean = self.clean[samples]
        return np.asarray(clean + self._ball.geometry.towards_clean(point - clean, share), np.float32)
