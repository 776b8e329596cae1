"""Light: more of it, or less contrast."""

from __future__ import annotations

import numpy as np
from typing_extensions import override

from tritguard.attack.corruptions.base import Corruption, Float64


class Brightness(Corruption):
    """Pixels rise in HSV value and keep their hue and saturation; levels of CIFAR-10-C (1903.12261)."""

    name = "brightness"
    meaning = "brighter pixels; what is added to their HSV value, as a share of the range"
    levels = (0.05, 0.10, 0.15, 0.20, 0.30)

    @override
    def apply(self, clean: Float64, level: float, rng: np.random.Generator) -> Float64:
        value = clean.max(axis=-1, keepdims=True)
        raised = np.minimum(value + level, 1)
        return np.asarray(np.where(value > 0, clean * raised / np.where(value > 0, value, 1), raised))


class Contrast(Corruption):
    """Each channel is drawn towards its mean over the picture; levels of CIFAR-10-C (1903.12261)."""

    name = "contrast"
    meaning = "less contrast; the share of it that is left"
    levels = (0.75, 0.50, 0.40, 0.30, 0.15)

    @override
    def apply(self, clean: Float64, level: float, rng: np.random.Generator) -> Float64:
        mean = clean.mean(axis=(1, 2), keepdims=True)
        return np.asarray(mean + level * (clean - mean))
