"""The points of the sigmoid between which TFLM's 16-bit sigmoid and tanh are straight lines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sigmoid_points() -> NDArray[np.uint16]:
    """uint16[256]: at i / 24, in 2^-16, the last of them the largest number there is.

    They lie off the curve by half of the greatest error of the straight lines between them, which is then as large to
    both sides.
    """
    sigmoid = 1 / (1 + np.exp(-np.arange(256) / 24))
    bend = sigmoid * (1 - sigmoid) * (1 - 2 * sigmoid)  # the second derivative
    points = np.round(65536 * (sigmoid - bend / 16 / 24**2)).astype(np.uint16)
    points[-1] = 65535
    return points
