"""What a room and a microphone do to sound; the levels are ours."""

from __future__ import annotations

import numpy as np
from typing_extensions import override

from tritguard.attack.corruptions.base import Corruption, Float64


class WhiteNoise(Corruption):
    """White noise over the whole clip."""

    name = "white-noise"
    meaning = "white noise; the signal's energy over the noise's, in dB"
    levels = (40, 30, 20, 10, 0)

    @override
    def apply(self, clean: Float64, level: float, rng: np.random.Generator) -> Float64:
        noise = rng.standard_normal(clean.shape)
        energy = np.sqrt((clean**2).sum(axis=1, keepdims=True) / (noise**2).sum(axis=1, keepdims=True))
        return np.asarray(clean + noise * energy * 10 ** (-level / 20))


class Loud(Corruption):
    """Too much gain: what is louder than full scale is cut off."""

    name = "loud"
    meaning = "too much gain, and cut at full scale; gain over the loudest that fits, in dB"
    levels = (3, 6, 12, 18, 24)

    @override
    def apply(self, clean: Float64, level: float, rng: np.random.Generator) -> Float64:
        peak = np.abs(clean).max(axis=1, keepdims=True)
        return np.asarray(clean / np.where(peak > 0, peak, 1) * 10 ** (level / 20))


class Quiet(Corruption):
    """Too little gain: few of the 16 bits are left."""

    name = "quiet"
    meaning = "too little gain, and rounded to 16 bits; gain in dB"
    levels = (-12, -24, -36, -48, -60)

    @override
    def apply(self, clean: Float64, level: float, rng: np.random.Generator) -> Float64:
        return np.asarray(clean * 10 ** (level / 20))
