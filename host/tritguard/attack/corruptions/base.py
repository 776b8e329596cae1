"""What a common corruption is: a change that the world makes to an input, at five severities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

SEVERITIES = (1, 2, 3, 4, 5)


class Corruption(ABC):
    """One common corruption (Hendrycks and Dietterich 2019, 1903.12261): nobody aims it, and it keeps to no ball.

    Pictures are float64[n, height, width, channels], 0 for the darkest value that the data can have and 1 for the
    brightest. Sound is float64[n, samples], full scale 1.

    Attributes:
        name: what plans and results call it.
        meaning: what is changed and what `levels` are, in a few words.
        levels: how much is changed at each of `SEVERITIES`.
    """

    name: ClassVar[str]
    meaning: ClassVar[str]
    levels: ClassVar[tuple[float, float, float, float, float]]

    @abstractmethod
    def apply(self, clean: Float64, level: float, rng: np.random.Generator) -> Float64:
        """The corrupted inputs, in the shape of `clean`; the caller cuts them to their range and rounds them."""

    def at(self, clean: Float64, severity: int, seed: int) -> Float64:
        """The inputs at one of `SEVERITIES`, the same each time for the same inputs and seed."""
        rng = np.random.default_rng((seed, severity, *self.name.encode()))
        return self.apply(clean, self.levels[severity - 1], rng)
