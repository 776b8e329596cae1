"""Helpers for arrays with one row per sample."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def column(values: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """One value per sample, [n], reshaped so that it broadcasts against `like`, [n, *input_shape]."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def euclidean(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """The Euclidean length of each sample of [n, *input_shape], as [n] in the dtype of `x`."""
    return np.asarray(np.sqrt((flat(x) ** 2).sum(axis=1)))


def flat(x: NDArray[Any]) -> NDArray[Any]:
    """x, [n, *shape], as [n, values of a sample], where n may be 0."""
    return x.reshape(len(x), math.prod(x.shape[1:]))
