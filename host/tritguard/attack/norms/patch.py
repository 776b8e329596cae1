"""Patches: any change inside one small square of a picture, and none outside it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.attack.norms.base import Float64, Floats, Norm
from tritguard.attack.windows import as_image
from tritguard.graph.arithmetic.fixed_point import INT8_MAX, INT8_MIN
from tritguard.predictor import Int8

REACH = 32  # int8 steps; over many more, gradients predict little even for an honest network
_SQUARES = 4  # the number of moves in `all_along`

Places = NDArray[np.bool_]
Corners = NDArray[np.int64]


class Patch(Norm):
    """The side of the smallest square, in pixels, that holds all changes; the attacker chooses its place per sample.

    Inside the square every channel may take any value that the data can have (Brown et al. 2017, 1712.09665; for each
    sample anew, as in Karmon et al. 2018, 1801.02608). An input is seen as the picture of `as_image`; a square
    that is larger than the picture covers it. The ball is no convex set; its point nearest to a move, in the Euclidean
    sense, keeps the square in which the move is longest.
    """

    name = "patch"
    meaning = "side in pixels of the smallest square that holds all changes, wherever in the picture it lies"
    unit = "pixel"
    placed = True

    @override
    def sanity_eps(self, largest: int) -> int:
        """A side that covers most of any picture that a microcontroller is given."""
        return max(64, 2 * largest)

    @override
    def scaled(self, eps: float, step: float) -> float:
        """Pixels are pixels, whatever a step is."""
        return eps

    @override
    def lengths(self, moves: Floats) -> Floats:
        changed = _changed(moves)
        return np.maximum(*(_extent(np.asarray(changed.any(axis=axis))) for axis in (2, 1))).astype(np.float64)

    @override
    def to_grid(self, candidates: Floats, clean: Int8, eps: int) -> Int8:
        wide = clean.astype(np.float64)
        steps = np.rint(np.clip(candidates, INT8_MIN, INT8_MAX)) - wide
        return np.asarray(wide + self.shrink(steps, eps), np.int8)

    @override
    def shrink(self, moves: Floats, eps: int) -> Floats:
        return self._cut(moves, np.full(len(moves), eps))

    @override
    def steepest(self, gradients: Floats) -> Floats:
        """One step in every element: a patch bounds where changes lie, and not how large they are."""
        return np.sign(gradients)

    @override
    def along(self, gradients: Floats, eps: int, moved: Floats) -> Floats:
        """In the square where slopes are steepest, or the one changed already, as far as networks are nearly linear."""
        changed = _changed(moved)
        elsewhere = changed.any(axis=(1, 2), keepdims=True) & ~changed
        slopes = np.where(_wide(elsewhere, gradients.shape), 0.0, gradients)
        return REACH * np.sign(self.shrink(np.sign(slopes) * np.sqrt(np.abs(slopes)), eps))

    @override
    def all_along(self, gradients: Floats, eps: int, moved: Floats) -> tuple[Floats, ...]:
        """In the squares where slopes are steepest, without overlap, or in the one that has been changed already."""
        left, moves = gradients, []
        for _ in range(_SQUARES):
            moves.append(self.along(left, eps, moved))
            left = np.where(moves[-1] != 0, 0.0, left)
        return tuple(moves)

    @override
    def first_step(self, eps: int) -> float:
        """Half of the range of values: eps counts pixels, and says nothing about how far one may change."""
        return float(INT8_MAX)

    @override
    def nudge(self, gradients: Floats, eps: int, moved: Floats, elements: int) -> Floats:
        # What lies outside the square that has been changed would be cut off.
        return self.along(gradients, eps, moved)

    @override
    def start(self, rng: np.random.Generator, shape: tuple[int, ...], eps: int) -> Floats:
        """A square at random, filled at random."""
        return np.where(self._anywhere(rng, shape, eps), rng.uniform(INT8_MIN, INT8_MAX, shape), 0.0)

    @override
    def start_at(self, rng: np.random.Generator, gains: Floats, eps: int) -> Floats:
        """The square that gains most, filled at random; one at random where nothing gains."""
        inside = _changed(self.along(gains, eps, np.zeros_like(gains)))
        inside = np.where(inside.any(axis=(1, 2), keepdims=True), inside, _changed(self.start(rng, gains.shape, eps)))
        return np.where(_wide(inside, gains.shape), rng.uniform(INT8_MIN, INT8_MAX, gains.shape), 0.0)

    @override
    def to_edge(self, rng: np.random.Generator, clean: Float64, eps: int) -> Float64:
        inside = self._anywhere(rng, clean.shape, eps)
        return np.where(inside, rng.integers(INT8_MIN, INT8_MAX + 1, clean.shape) - clean, 0.0)

    @override
    def towards_clean(self, moves: Floats, share: Float64) -> Floats:
        """A smaller square of the same changes."""
        return self._cut(moves, np.floor(share * self.lengths(moves)).astype(np.int64))

    def places(self, height: int, width: int, side: int) -> Places:
        """bool[height - side + 1, width - side + 1]: where the upper left corner of a square of this side may lie."""
        return np.ones((max(height - side, 0) + 1, max(width - side, 0) + 1), bool)

    def _cut(self, moves: Floats, sides: NDArray[np.int64]) -> Floats:
        """Keep each sample's moves inside the square, with the side int64[n], in which they are longest."""
        images = np.asarray(moves, np.float64).reshape(len(moves), *as_image(moves.shape[1:]))
        energy = (images**2).sum(axis=3)
        kept = np.zeros_like(images)
        for side in np.unique(sides[sides > 0]):
            rows = np.flatnonzero(sides == side)
            allowed = self.places(images.shape[1], images.shape[2], int(side))
            sums = np.where(allowed, window_sums(energy[rows], int(side)), -1.0).reshape(len(rows), -1)
            inside = squares(sums.argmax(axis=1), allowed.shape, (images.shape[1], images.shape[2]), int(side))
            kept[rows] = np.where(inside[..., None], images[rows], 0.0)
        return np.asarray(kept.reshape(moves.shape), moves.dtype)

    def _anywhere(self, rng: np.random.Generator, shape: tuple[int, ...], eps: int) -> Places:
        """bool of the shape [n, *input_shape]: true in one square for each sample, drawn from all places."""
        height, width, channels = as_image(shape[1:])
        allowed = self.places(height, width, eps)
        drawn = rng.choice(np.flatnonzero(allowed), shape[0])
        inside = squares(drawn, allowed.shape, (height, width), eps)
        return np.repeat(inside[..., None], channels, axis=3).reshape(shape)


class CornerPatch(Patch):
    """A patch whose square lies in one of the picture's four corners, where it hides little of what is shown."""

    name = "corner-patch"
    meaning = "side in pixels of the smallest square in a corner of the picture that holds all changes"

    @override
    def lengths(self, moves: Floats) -> Floats:
        changed = _changed(moves)
        reaches = [
            np.maximum(_last(np.asarray(down.any(axis=2))), _last(np.asarray(down.any(axis=1))))
            for across in (changed, changed[:, :, ::-1])
            for down in (across, across[:, ::-1])
        ]
        return np.asarray(np.min(reaches, axis=0), np.float64)

    @override
    def places(self, height: int, width: int, side: int) -> Places:
        allowed = np.zeros((max(height - side, 0) + 1, max(width - side, 0) + 1), bool)
        allowed[np.ix_([0, -1], [0, -1])] = True
        return allowed


PATCHES: dict[str, Patch] = {norm.name: norm for norm in (Patch(), CornerPatch())}
"""The norms of patches by their names, for attacks that need to know where squares may lie."""


def window_sums(values: Float64, side: int) -> Float64:
    """float64[n, height, width] summed over every square of this side, by its upper left corner."""
    _, height, width = values.shape
    rows, columns = min(side, height), min(side, width)
    sums = np.pad(values, ((0, 0), (1, 0), (1, 0))).cumsum(axis=1).cumsum(axis=2)
    return np.asarray(
        sums[:, rows:, columns:] - sums[:, :-rows, columns:] - sums[:, rows:, :-columns] + sums[:, :-rows, :-columns]
    )


def squares(chosen: Corners, places: tuple[int, ...], picture: tuple[int, ...], side: int) -> Places:
    """bool[n, height, width]: true inside one square for each sample, given its place among all corners, int64[n]."""
    top, left = np.unravel_index(chosen, places)
    down, across = np.arange(picture[0]), np.arange(picture[1])
    rows = (down >= top[:, None]) & (down < top[:, None] + side)
    columns = (across >= left[:, None]) & (across < left[:, None] + side)
    return np.asarray(rows[:, :, None] & columns[:, None, :])


def _changed(moves: Floats) -> Places:
    """bool[n, height, width]: the pixels that moves change."""
    pixels = (moves != 0).reshape(len(moves), *as_image(moves.shape[1:]))
    return np.asarray(pixels.any(axis=3))


def _wide(pixels: Places, shape: tuple[int, ...]) -> Places:
    """bool[n, height, width] repeated for every channel, in this shape, [n, *input_shape]."""
    channels = as_image(shape[1:])[2]
    return np.repeat(pixels[..., None], channels, axis=3).reshape(shape)


def _last(flags: Places) -> Corners:
    """int64[n]: how many elements of each row, bool[n, elements], there are up to the last true one."""
    return np.where(flags.any(axis=1), flags.shape[1] - flags[:, ::-1].argmax(axis=1), 0)


def _extent(flags: Places) -> Corners:
    """int64[n]: from the first to the last true element of each row, bool[n, elements]; 0 where there is none."""
    return np.where(flags.any(axis=1), _last(flags) - flags.argmax(axis=1), 0)
