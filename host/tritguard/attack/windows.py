"""Inputs as images, and windows in them, in which attacks change neighbouring elements together."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int, int]  # height, width, channels
Window = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]  # an index into images: samples, rows, columns


def as_image(shape: tuple[int, ...]) -> Shape:
    """An input's shape as height, width and channels; a vector has one row, a matrix one channel."""
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    return (shape[0], shape[1], 1) if len(shape) == 2 else (1, math.prod(shape), 1)


def sides(height: int, width: int, share: float, least: int = 1) -> tuple[int, int]:
    """Rows and columns of a window that covers this share of an image: a square, or longer if that does not fit.

    Args:
        height: the image's height in pixels.
        width: the image's width in pixels.
        share: the share of the image's pixels to cover.
        least: the shortest side of the window, if the image is that large.
    """
    area = share * height * width
    side = max(least, round(math.sqrt(area)))
    rows, columns = min(side, height), min(side, width)
    return min(height, max(rows, round(area / columns))), min(width, max(columns, round(area / rows)))


def draw(rng: np.random.Generator, images: tuple[int, ...], size: tuple[int, int]) -> Window:
    """A window of `size`, rows and columns, at a random place in each of n images, [n, height, width, channels]."""
    (count, height, width, _), (rows, columns) = images, size
    top, left = rng.integers(height - rows + 1, size=count), rng.integers(width - columns + 1, size=count)
    return (
        np.arange(count)[:, None, None],
        top[:, None, None] + np.arange(rows)[:, None],
        left[:, None, None] + np.arange(columns),
    )
