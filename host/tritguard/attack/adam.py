"""Adam's steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BETAS = (0.9, 0.999)


class Adam:
    """Adam (Kingma and Ba 2015, 1412.6980) on an array; a step may touch only a part of it.

    Args:
        shape: the shape of the array.
        rate: the step size.
        counts: the shape of the step counts, which has to broadcast with `shape`. By default every element has a
            count of its own; (n, 1, ...) is enough where the elements of a row take part in the same steps.
    """

    def __init__(self, shape: tuple[int, ...], rate: float, counts: tuple[int, ...] | None = None) -> None:
        self._rate = rate
        self._first, self._second, self._count = np.zeros(shape), np.zeros(shape), np.zeros(counts or shape)

    def step(self, gradient: NDArray[np.floating], place: Any) -> NDArray[np.float64]:
        """What to subtract from the elements at `place`, a NumPy index, given the gradient there."""
        self._count[place] += 1
        self._first[place] = _BETAS[0] * self._first[place] + (1 - _BETAS[0]) * gradient
        self._second[place] = _BETAS[1] * self._second[place] + (1 - _BETAS[1]) * gradient**2
        first = self._first[place] / (1 - _BETAS[0] ** self._count[place])
        second = self._second[place] / (1 - _BETAS[1] ** self._count[place])
        return np.asarray(self._rate * first / (np.sqrt(second) + 1e-8))
