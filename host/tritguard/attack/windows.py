"""Inputs as images, and windows on them, where attacks change neighbours together."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int, int]  # height, width, channels
Window = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]  # samples, rows, columns: one index of images


def as_image(shape: tuple[int, ...]) -> Shape:
    """An input's shape as height, width and channels: a vector has one row, a matrix one channel."""
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    return (shape[0], shape[1], 1) if len(shape) == 2 else (1, math.prod(shape), 1)


def sides(height: int, width: int, share: float, least: int = 1) -> tuple[int, int]:
    """Rows and columns of the window that covers this share: a square, or longer where it would not fit.

    Args:
        height: of the image.
        width: of the image.
        share: of its pixels.
        least: what a side measures at least, where the image is as large.
    """
    area = share * height * width
    side = max(least, round(math.sqrt(area)))
    rows, columns = min(side, height), min(side, width)
    return min(height, max(rows, round(area / columns))), min(width, max(columns, round(area / rows)))


def draw(rng: np.random.Generator, images: tuple[int, ...], size: tuple[int, int]) -> Window:
    """A window of rows x columns at a random place of each of n images, [n, height, width, channels]."""
    (count, height, width, _), (rows, columns) = images, size
    top, left = rng.integers(height - rows + 1, size=count), rng.integers(width - columns + 1, size=count)
    return (
        np.arange(count)[:, None, None],
        top[:, None, None] + np.arange(rows)[:, None],
        left[:, None, None] + np.arange(columns),
    )
