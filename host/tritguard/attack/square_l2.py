"""The moves of the Square attack in L2."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.base import Ball, Places
from tritguard.attack.windows import draw, sides
from tritguard.predictor import Int8

_TILES = 5  # tiles along the shorter side at the start
_LEAST = 3  # the shortest side of a window, in pixels


class L2Windows:
    """Windows of two bumps, one up and one down, at the L2 ball's full radius (1912.00049, algorithm 3).

    A change adds a new pair of bumps to a window. It is paid for with the change in a second window, which is undone,
    and with the part of the radius that is unused. Each proposal is put on the int8 grid, where the smallest values of
    a bump round to zero.

    Args:
        images: int8[n, height, width, channels], the clean inputs.
        ball: an L2 ball.
        rng: the generator of windows and signs.
    """

    def __init__(self, images: Int8, ball: Ball, rng: np.random.Generator) -> None:
        self._clean = images
        self._ball = ball
        self._rng = rng

    def start(self, samples: Places) -> Int8:
        """The images tiled with bumps."""
        height, width, channels = self._clean.shape[1:]
        side = max(1, (min(height, width) if min(height, width) > 1 else max(height, width)) // _TILES)
        rows, columns = min(side, height), min(side, width)
        moved = np.zeros((len(samples), height, width, channels), np.float32)
        for top in range(0, height - rows + 1, rows):
            for left in range(0, width - columns + 1, columns):
                moved[:, top : top + rows, left : left + columns] = self._bumps(len(samples), rows, columns, channels)
        return self._on_grid(moved, samples)

    def change(self, best: Int8, samples: Places, share: float) -> Int8:
        """The best inputs so far, each with one window changed that covers this share of it."""
        height, width, channels = best.shape[1:]
        size = sides(height, width, share, _LEAST)
        made, given = draw(self._rng, best.shape, size), draw(self._rng, best.shape, size)
        moved = best.astype(np.float32) - self._clean[samples]
        unused = np.maximum(self._ball.eps**2 - _energy(moved).sum(axis=3, keepdims=True), 0)
        there = moved[made]
        available = _energy(there) + unused / channels
        moved[made] = 0  # so that nothing is counted twice where the windows overlap
        available += _energy(moved[given])
        moved[given] = 0
        new = self._bumps(len(best), *size, channels) + _unit(there)
        moved[made] = _unit(new) * np.sqrt(available)
        return self._on_grid(moved, samples)

    def _bumps(self, count: int, rows: int, columns: int, channels: int) -> NDArray[np.float32]:
        """float32[count, rows, columns, channels] of length one per channel: lying or upright, of either sign."""
        upright = columns == 1 or (rows > 1 and self._rng.random() < 0.5)
        pair = _pair(rows, columns) if upright else _pair(columns, rows).T
        signs = self._rng.choice(np.array([-1, 1], np.float32), (count, 1, 1, channels))
        return np.asarray(signs * pair[:, :, None], np.float32)

    def _on_grid(self, moved: NDArray[np.float32], samples: Places) -> Int8:
        """The moves scaled to the full radius, then rounded to the grid inside the ball."""
        clean = self._clean[samples]
        length = np.sqrt(_energy(moved).sum(axis=3, keepdims=True))
        return self._ball.to_grid(clean + moved * (self._ball.eps / np.maximum(length, 1e-9)), clean)


def _pair(rows: int, columns: int) -> NDArray[np.float64]:
    """[rows, columns] of length one: a bump up in the upper half and a bump down in the lower one."""
    both = np.concatenate([_bump(rows // 2, columns), -_bump(rows - rows // 2, columns)])
    return np.asarray(both / np.sqrt((both**2).sum()))


def _bump(rows: int, columns: int) -> NDArray[np.float64]:
    """One bump, by equation 2: the sum of 1 / j**2 over all j from the distance to the middle upwards."""
    if rows == 0:
        return np.zeros((0, columns))
    across, along = np.abs(np.arange(rows) - rows // 2), np.abs(np.arange(columns) - columns // 2)
    terms = 1 / np.arange(1, max(rows, columns) // 2 + 2) ** 2
    return np.asarray(terms[::-1].cumsum()[::-1][np.maximum.outer(across, along)])


def _energy(moved: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sum of squares of each sample and channel, [n, 1, 1, channels]."""
    return np.asarray((moved**2).sum(axis=(1, 2), keepdims=True))


def _unit(moved: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(moved / np.maximum(np.sqrt(_energy(moved)), 1e-9), np.float32)
