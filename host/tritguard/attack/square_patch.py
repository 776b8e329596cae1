"""Square's moves for patches: paint a part of the square, or move it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.base import Ball, Places, for_norm
from tritguard.attack.norms.patch import PATCHES, squares
from tritguard.attack.windows import draw, sides
from tritguard.predictor import Int8

_MOVES = 0.2  # how often the square moves to another place instead of being painted


class PatchWindows:
    """Sparse-RS for patches (Croce et al. 2022, 2006.12834, section 5), in every norm of `PATCHES`.

    The square has a picture of its own, of values at the ends of the data's range. A query changes a window of that
    picture to one colour, or moves the whole square; what `Square` keeps is found again in the best input.

    Args:
        images: int8[n, height, width, channels], the clean inputs.
    """

    def __init__(self, images: Int8, ball: Ball, rng: np.random.Generator) -> None:
        norm = for_norm(PATCHES, ball, "Square")
        self._clean, self._ball, self._rng = images, ball, rng
        self._allowed = norm.places(images.shape[1], images.shape[2], ball.eps)
        self._side = min(ball.eps, images.shape[1]), min(ball.eps, images.shape[2])
        self._places, self._pictures = self._drawn(len(images)), self._stripes(len(images))
        self._tried: tuple[Places, Places, Int8] | None = None

    def start(self, samples: Places) -> Int8:
        """A square with stripes at a place drawn at random."""
        return self._pasted(samples, self._places[samples], self._pictures[samples])

    def change(self, best: Int8, samples: Places, share: float) -> Int8:
        """What was kept so far, with the square at another place, or one window of it in another colour."""
        self._keep(best, samples)
        places, pictures = self._places[samples].copy(), self._pictures[samples].copy()
        moved = self._rng.random(len(samples)) < _MOVES
        places[moved] = self._drawn(int(moved.sum()))
        painted = pictures.copy()
        window = draw(self._rng, painted.shape, sides(*self._side, share))
        painted[window] = self._ends((len(samples), 1, 1, painted.shape[3]))
        pictures[~moved] = painted[~moved]
        self._tried = samples, places, pictures
        return self._pasted(samples, places, pictures)

    def _keep(self, best: Int8, samples: Places) -> None:
        """Take over what was tried last, where it is the best now."""
        if self._tried is None:
            return
        tried, places, pictures = self._tried
        rows = np.isin(tried, samples)
        tried, places, pictures = tried[rows], places[rows], pictures[rows]
        kept = (self._pasted(tried, places, pictures) == best).all(axis=(1, 2, 3))
        self._places[tried[kept]], self._pictures[tried[kept]] = places[kept], pictures[kept]

    def _pasted(self, samples: Places, places: Places, pictures: Int8) -> Int8:
        inside = squares(places, self._allowed.shape, self._clean.shape[1:3], self._ball.eps)
        x = self._clean[samples].copy()
        x[inside] = pictures.reshape(-1, pictures.shape[3])
        return x

    def _drawn(self, count: int) -> NDArray[np.int64]:
        return np.asarray(self._rng.choice(np.flatnonzero(self._allowed), count), np.int64)

    def _stripes(self, count: int) -> Int8:
        rows, columns = self._side
        stripes = self._ends((count, 1, columns, self._clean.shape[3]))
        return np.broadcast_to(stripes, (count, rows, columns, self._clean.shape[3])).copy()

    def _ends(self, shape: tuple[int, ...]) -> Int8:
        return self._rng.choice(np.array([self._ball.low, self._ball.high], np.int8), shape)
