"""The moves of the L2 Square attack."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.base import Ball, Places
from tritguard.attack.windows import draw, sides
from tritguard.predictor import Int8

_TILES = 5  # along the shorter side, at the start
_LEAST = 3  # pixels a window's side has at least


class L2Windows:
    """Windows of two bumps, one up and one down, at the L2 ball's full radius (1912.00049, algorithm 3).

    A change of the window adds a new pair of bumps to what is there, and pays for it with the change of a second
    window, which goes, and with what of the radius is unused. Each proposal is put on the int8 grid: the smallest
    values of a bump round to nothing.

    Args:
        images: int8[n, height, width, channels], the clean inputs.
        ball: L2.
        rng: of windows and signs.
    """

    def __init__(self, images: Int8, ball: Ball, rng: np.random.Generator) -> None:
        self._clean = images
        self._ball = ball
        self._rng = rng

    def start(self, samples: Places) -> Int8:
        """The image tiled with bumps."""
        height, width, channels = self._clean.shape[1:]
        side = max(1, (min(height, width) if min(height, width) > 1 else max(height, width)) // _TILES)
        rows, columns = min(side, height), min(side, width)
        moved = np.zeros((len(samples), height, width, channels), np.float32)
        for top in range(0, height - rows + 1, rows):
            for left in range(0, width - columns + 1, columns):
                moved[:, top : top + rows, left : left + columns] = self._bumps(len(samples), rows, columns, channels)
        return self._on_grid(moved, samples)

    def change(self, best: Int8, samples: Places, share: float) -> Int8:
        """The best inputs so far with one window each changed, which covers this share of it."""
        height, width, channels = best.shape[1:]
        size = sides(height, width, share, _LEAST)
        made, given = draw(self._rng, best.shape, size), draw(self._rng, best.shape, size)
        moved = best.astype(np.float32) - self._clean[samples]
        unused = np.maximum(self._ball.eps**2 - _energy(moved).sum(axis=3, keepdims=True), 0)
        there = moved[made]
        available = _energy(there) + unused / channels
        moved[made] = 0  # where the windows overlap, nothing is counted twice
        available += _energy(moved[given])
        moved[given] = 0
        new = self._bumps(len(best), *size, channels) + _unit(there)
        moved[made] = _unit(new) * np.sqrt(available)
        return self._on_grid(moved, samples)

    def _bumps(self, count: int, rows: int, columns: int, channels: int) -> NDArray[np.float32]:
        """float32[count, rows, columns, channels] of length one a channel: lying or upright, of either sign."""
        upright = columns == 1 or (rows > 1 and self._rng.random() < 0.5)
        pair = _pair(rows, columns) if upright else _pair(columns, rows).T
        signs = self._rng.choice(np.array([-1, 1], np.float32), (count, 1, 1, channels))
        return np.asarray(signs * pair[:, :, None], np.float32)

    def _on_grid(self, moved: NDArray[np.float32], samples: Places) -> Int8:
        """At the full radius, then rounded into the ball."""
        clean = self._clean[samples]
        length = np.sqrt(_energy(moved).sum(axis=3, keepdims=True))
        return self._ball.to_grid(clean + moved * (self._ball.eps / np.maximum(length, 1e-9)), clean)


def _pair(rows: int, columns: int) -> NDArray[np.float64]:
    """A bump up in the upper half and one down in the lower, [rows, columns], of length one."""
    both = np.concatenate([_bump(rows // 2, columns), -_bump(rows - rows // 2, columns)])
    return np.asarray(both / np.sqrt((both**2).sum()))


def _bump(rows: int, columns: int) -> NDArray[np.float64]:
    """Equation 2: the sum of 1 / j**2 over j from the distance to the middle on."""
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
