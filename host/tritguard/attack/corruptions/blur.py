"""Blur: a lens out of focus, or dirty."""

from __future__ import annotations

import math

import numpy as np
from typing_extensions import override

from tritguard.attack.corruptions.base import Corruption, Float64

_REACH = 4  # standard deviations, beyond which the bell curve is cut


class GaussianBlur(Corruption):
    """A Gaussian over neighbouring pixels; levels of CIFAR-10-C (1903.12261), meant for pictures of 32 x 32 pixels."""

    name = "gaussian-blur"
    meaning = "Gaussian blur; its standard deviation in pixels"
    levels = (0.4, 0.6, 0.7, 0.8, 1.0)

    @override
    def apply(self, clean: Float64, level: float, rng: np.random.Generator) -> Float64:
        return _along(_along(clean, level, axis=1), level, axis=2)


def _along(pictures: Float64, deviation: float, axis: int) -> Float64:
    """Blur along one axis; beyond the edge the last pixel is repeated."""
    reach = math.ceil(_REACH * deviation)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    margins = [(reach, reach) if place == axis else (0, 0) for place in range(pictures.ndim)]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(pictures, margins, "edge"), 2 * reach + 1, axis=axis)
    return np.asarray(windows @ (weights / weights.sum()))
