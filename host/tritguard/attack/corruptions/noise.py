"""Noise of a sensor: thermal noise, shot noise and dead pixels."""

from __future__ import annotations

import numpy as np
from typing_extensions import override

from tritguard.attack.corruptions.base import Corruption, Float64


class GaussianNoise(Corruption):
    """Normal noise on each value; levels of CIFAR-10-C (1903.12261)."""

    name = "gaussian-noise"
    meaning = "normal noise; its standard deviation as a share of the range"
    levels = (0.04, 0.06, 0.08, 0.09, 0.10)

    @override
    def apply(self, clean: Float64, level: float, rng: np.random.Generator) -> Float64:
        return clean + rng.normal(scale=level, size=clean.shape)


class ShotNoise(Corruption):
    """Each value counts photons, so that its noise follows Poisson's law; levels of CIFAR-10-C (1903.12261)."""

    name = "shot-noise"
    meaning = "noise of counted photons; how many the brightest value stands for"
    levels = (500, 250, 100, 75, 50)

    @override
    def apply(self, clean: Float64, level: float, rng: np.random.Generator) -> Float64:
        return np.asarray(rng.poisson(clean * level) / level)


class ImpulseNoise(Corruption):
    """Some values become the darkest or the brightest; levels of CIFAR-10-C (1903.12261)."""

    name = "impulse-noise"
    meaning = "values that become black or white; their share"
    levels = (0.01, 0.02, 0.03, 0.05, 0.07)

    @override
    def apply(self, clean: Float64, level: float, rng: np.random.Generator) -> Float64:
        hit, white = rng.random(clean.shape) < level, rng.random(clean.shape) < 0.5
        return np.where(hit, white.astype(np.float64), clean)
