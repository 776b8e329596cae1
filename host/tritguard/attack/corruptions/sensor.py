"""A cheaper sensor, which tells fewer values apart."""

from __future__ import annotations

import numpy as np
from typing_extensions import override

from tritguard.attack.corruptions.base import Corruption, Float64


class SensorBits(Corruption):
    """Values are rounded to those of a converter with fewer bits; the levels are ours, as CIFAR-10-C has none."""

    name = "sensor-bits"
    meaning = "fewer values of the sensor; its bits"
    levels = (6, 5, 4, 3, 2)

    @override
    def apply(self, clean: Float64, level: float, rng: np.random.Generator) -> Float64:
        highest = 2**level - 1
        return np.asarray(np.rint(clean * highest) / highest)
