"""MLPerf Tiny's keyword front end: one second of sound becomes 49 frames of 10 mel-frequency cepstral coefficients.

The reference is `get_dataset.py` of mlcommons/tiny's keyword spotting, which uses `tf.signal`. It divides the clip by
its maximum, takes a frame of 30 ms every 20 ms, applies a Hann window, takes the magnitudes of a 512-point transform,
sums them in 40 mel bands from 20 to 4,000 Hz, takes log(x + 1e-6), and keeps the first 10 coefficients of a DCT-II.
This is the same in NumPy, so that data can be made without TensorFlow.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Clips = NDArray[np.float32]
Float64 = NDArray[np.float64]

SAMPLE_RATE = 16_000
CLIP_SAMPLES = SAMPLE_RATE
FRAMES = 49
COEFFICIENTS = 10
INPUT_UNIT = "MFCC"

_WINDOW = 480
_STRIDE = 320
_FFT = 512
_BANDS = 40
_LOWEST_HZ, _HIGHEST_HZ = 20.0, 4000.0
_LOG_OFFSET = 1e-6
_BATCH = 256  # clips processed at once; each has 49 spectra of 257 bins


def mfcc(clips: Clips) -> NDArray[np.float32]:
    """Compute the features of clips.

    Args:
        clips: float[n, 16000] at 16 kHz, with any gain, because each is divided by its maximum.

    Returns:
        float32[n, 49, 10, 1].
    """
    features = np.empty((len(clips), FRAMES, COEFFICIENTS, 1), np.float32)
    for start in range(0, len(clips), _BATCH):
        part = slice(start, start + _BATCH)
        features[part] = _mfcc(np.asarray(clips[part], np.float64))[..., None]
    return features


def pull_back(clips: NDArray[np.floating], slopes: NDArray[np.floating]) -> Float64:
    """The gradient with respect to the clips of a function of their features: slopes times the Jacobian of `mfcc`.

    Every step of the front end is differentiated exactly, including the division by the maximum; the magnitude of a bin
    that is exactly zero, which has no derivative, counts as constant.

    Args:
        clips: float[n, 16000], with any gain.
        slopes: float[n, 49, 10, 1], the function's derivatives with respect to the features.

    Returns:
        float64[n, 16000].
    """
    found = np.empty((len(clips), CLIP_SAMPLES))
    for start in range(0, len(clips), _BATCH):
        part = slice(start, start + _BATCH)
        found[part] = _pull_back(np.asarray(clips[part], np.float64), np.asarray(slopes[part], np.float64)[..., 0])
    return found


def fit_clip(sound: NDArray[np.number]) -> Clips:
    """Cut sound of any length at 16 kHz to a clip of one second, or extend it with silence: float32[16000]."""
    clip = np.zeros(CLIP_SAMPLES, np.float32)
    kept = sound[:CLIP_SAMPLES]
    clip[: len(kept)] = kept
    return clip


def resample(sound: NDArray[np.number], rate: int) -> Clips:
    """Resample sound from `rate` to 16 kHz: its spectrum is kept up to the lower of the two Nyquist frequencies."""
    if rate == SAMPLE_RATE or len(sound) == 0:
        return np.asarray(sound, np.float32)
    length = max(1, round(len(sound) * SAMPLE_RATE / rate))
    spectrum = np.fft.rfft(np.asarray(sound, np.float64))
    fitted = np.zeros(length // 2 + 1, np.complex128)
    shared = min(len(spectrum), len(fitted))
    fitted[:shared] = spectrum[:shared]
    return np.asarray(np.fft.irfft(fitted, length) * (length / len(sound)), np.float32)


def _mfcc(clips: Float64) -> Float64:
    log_mel = np.log(_energies(np.abs(_spectra(clips / _gain(clips)))))
    return np.asarray(log_mel @ _dct())


def _gain(clips: Float64) -> Float64:
    """float64[n, 1]: what clips are divided by."""
    peak = clips.max(axis=1, keepdims=True)
    return np.where(peak > 0, peak, 1.0)  # the reference divides silence by zero


def _spectra(clips: Float64) -> NDArray[np.complex128]:
    """complex128[n, 49, 257]: the spectra of the windowed frames."""
    frames = np.lib.stride_tricks.sliding_window_view(clips, _WINDOW, axis=1)[:, ::_STRIDE]
    return np.fft.rfft(frames * _hann(), _FFT)


def _energies(magnitudes: Float64) -> Float64:
    """float64[n, 49, 40]: what the logarithm is taken of."""
    return np.asarray(magnitudes @ _mel_weights() + _LOG_OFFSET)


def _pull_back(clips: Float64, slopes: Float64) -> Float64:
    gain = _gain(clips)
    spectra = _spectra(clips / gain)
    magnitudes = np.abs(spectra)
    by_energy = slopes @ _dct().T / _energies(magnitudes)
    by_bin = by_energy @ _mel_weights().T * spectra / np.where(magnitudes > 0, magnitudes, 1.0)
    by_bin[..., 1:-1] /= 2  # the inverse transform counts them twice, once for the frequency that mirrors each
    by_frame = np.fft.irfft(by_bin, _FFT)[..., :_WINDOW] * _FFT * _hann()
    found = np.zeros_like(clips)
    for frame in range(FRAMES):
        found[:, frame * _STRIDE : frame * _STRIDE + _WINDOW] += by_frame[:, frame]
    found /= gain
    highest = clips.argmax(axis=1)[:, None]
    by_gain = -(found * clips).sum(axis=1, keepdims=True) / gain
    moved = np.take_along_axis(found, highest, axis=1) + np.where(clips.max(axis=1, keepdims=True) > 0, by_gain, 0.0)
    np.put_along_axis(found, highest, moved, axis=1)
    return found


@cache
def _hann() -> Float64:
    """float64[480], periodic like `tf.signal.hann_window`."""
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW))


@cache
def _mel_weights() -> Float64:
    """float64[257, 40]: triangles evenly spaced on the mel scale. As in `tf.signal`, none includes the lowest bin."""
    bins = _mel(np.linspace(0.0, SAMPLE_RATE / 2, _FFT // 2 + 1))[:, None]
    edges = np.linspace(_mel(np.array(_LOWEST_HZ)), _mel(np.array(_HIGHEST_HZ)), _BANDS + 2)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    weights = np.maximum(0.0, np.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre)))
    weights[0] = 0.0
    return np.asarray(weights)


def _mel(hertz: Float64) -> Float64:
    return np.asarray(1127.0 * np.log1p(hertz / 700.0))


@cache
def _dct() -> Float64:
    """float64[40, 10]: the DCT-II with the factor 1/sqrt(2 * bands) of `tf.signal.mfccs_from_log_mel_spectrograms`."""
    band, coefficient = np.arange(_BANDS)[:, None], np.arange(COEFFICIENTS)
    return np.asarray(2 * np.cos(np.pi * (2 * band + 1) * coefficient / (2 * _BANDS)) / np.sqrt(2 * _BANDS))
