"""How loud a perturbation may be, and what the deployed network is given of a sound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.arrays import column, euclidean
from tritguard.attack.norms.l2 import whole_steps
from tritguard.data import to_input_bytes
from tritguard.data.mfcc import mfcc, pull_back
from tritguard.predictor import Int8

Int16 = NDArray[np.int16]
Float64 = NDArray[np.float64]

_LOWEST, _HIGHEST = -32768, 32767
_FULL_SCALE = 32768.0


@dataclass(frozen=True)
class SoundBall:
    """The 16-bit clips whose difference from a clean clip is quieter than that by at least `snr`.

    Attributes:
        snr: the least ratio of the clip's energy to that of the difference, in dB: 20 for a hundredth of the energy.
        padding: whether the difference may begin before the recording and end after it, in the zeros with which a
            recording of less than a second is filled up.
    """

    snr: float
    padding: bool = True

    def covered(self, moves: Float64, clean: Int16) -> Float64:
        """Moves, float64[n, samples], set to zero where the difference may not be."""
        if self.padding:
            return moves
        sounds = clean != 0
        begun = np.maximum.accumulate(sounds, axis=1)
        ended = np.maximum.accumulate(sounds[:, ::-1], axis=1)[:, ::-1]
        return np.where(begun & ended, moves, 0.0)

    def reach(self, clean: Int16) -> Float64:
        """float64[n]: the largest Euclidean length of a perturbation of these clips, int16[n, samples]."""
        return np.asarray(euclidean(clean.astype(np.float64)) * 10 ** (-self.snr / 20), np.float64)

    def shrink(self, candidates: Float64, clean: Int16) -> Float64:
        """Candidates, float64[n, samples], pulled towards the clean clips into the ball, not rounded."""
        moves = self.covered(np.clip(candidates, _LOWEST, _HIGHEST) - clean, clean)
        share = np.minimum(1.0, self.reach(clean) / np.maximum(euclidean(moves), 1e-12))
        return np.asarray(clean + column(share, moves) * moves)

    def to_grid(self, candidates: Float64, clean: Int16) -> Int16:
        """Candidates as 16-bit clips in the ball, nearly as far from the clean ones as they are; see `L2`."""
        moves = self.shrink(candidates, clean) - clean
        return np.asarray(clean + whole_steps(moves, self.reach(clean)), np.int16)


def as_sound(clips: Int16) -> NDArray[np.float32]:
    """The clips with full scale 1, as when they are read from a WAV file."""
    return clips.astype(np.float32) / np.float32(_FULL_SCALE)


def decibels(clips: Int16, clean: Int16) -> Float64:
    """float64[n]: the ratio of the clean clips' energy to that of the difference, in dB; infinite where they agree."""
    signal = (clean.astype(np.float64) ** 2).sum(axis=1)
    moved = ((clips.astype(np.float64) - clean) ** 2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = 10 * (np.log10(signal) - np.log10(moved))
    return np.where(moved == 0, np.inf, ratio)  # silence that is left alone is 0 / 0


@dataclass(frozen=True)
class FrontEnd:
    """From 16-bit clips to what the deployed network takes: MFCC on its int8 grid.

    Attributes:
        scale: the scale of the network's input.
        zero_point: the zero point of the network's input.
    """

    scale: float
    zero_point: int

    def __call__(self, clips: Int16) -> Int8:
        """int8[n, 49, 10, 1], the features of clips, int16[n, 16000], as a data set's samples become inputs."""
        return to_input_bytes(mfcc(as_sound(clips)), self.scale, self.zero_point)

    def pull_back(self, clips: Float64, features: Int8, slopes: NDArray[np.floating]) -> Float64:
        """The gradient with respect to clips, given the one with respect to their features; see `mfcc.pull_back`.

        Rounding counts as the identity, and a feature at an end of the grid as constant.

        Args:
            clips: float64[n, 16000], in 16-bit steps.
            features: int8[n, 49, 10, 1], the features of the clips.
            slopes: float[n, 49, 10, 1], the gradient with respect to the features, per int8 step.
        """
        inside = np.where((features > -128) & (features < 127), slopes, 0.0)
        return pull_back(clips / _FULL_SCALE, inside / self.scale)
