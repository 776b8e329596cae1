"""Reads the sound files that keyword data is made from: PCM in a WAV file, or without a header."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tritguard.data.mfcc import SAMPLE_RATE, fit_clip, resample
from tritguard.errors import BadInputError
from tritguard.files import read_bytes

WAV_SUFFIX = ".wav"
RAW_SUFFIXES = (".pcm", ".raw")  # int16, little-endian, mono, 16 kHz
SUFFIXES = (WAV_SUFFIX, *RAW_SUFFIXES)

_RATES = (1_000, 384_000)
_FULL_SCALE = {1: 128.0, 2: 32768.0, 4: 2147483648.0}
_DTYPES = {1: "<u1", 2: "<i2", 4: "<i4"}


def read_clip(path: Path) -> NDArray[np.float32]:
    """The first second of a sound file, float32[16000] at 16 kHz with full scale 1. Shorter files end in silence.

    Raises:
        BadInputError: the file cannot be read, is not PCM of 8, 16 or 32 bits, or holds no sound.
    """
    return clip_of(read_bytes(path), str(path), headerless=path.suffix.lower() in RAW_SUFFIXES)


def clip_of(content: bytes, where: str, *, headerless: bool = False) -> NDArray[np.float32]:
    """The same as `read_clip`, from the content of a file; `where` is what messages call it.

    Raises:
        BadInputError: the content is not PCM of 8, 16 or 32 bits, or holds no sound.
    """
    sound, rate = _raw(content) if headerless else read_wav(content, where)
    if len(sound) == 0:
        raise BadInputError("holds no sound", where=where)
    seconds = 2  # more than is kept, so that the cut does not ring into the second that is kept
    return fit_clip(resample(sound[: seconds * rate], rate))


def read_wav(content: bytes, where: str) -> tuple[NDArray[np.float32], int]:
    """The sound of a WAV file, float32[n] with its channels averaged and full scale 1, and its rate in Hz.

    Raises:
        BadInputError: it is not a WAV file of PCM with 8, 16 or 32 bits.
    """
    try:
        with wave.open(io.BytesIO(content)) as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError, ValueError, RuntimeError) as error:
        raise BadInputError(f"not a PCM .wav file ({error or 'ends early'})", where=where, fix=_FIX) from error
    if width not in _DTYPES or channels < 1 or not _RATES[0] <= rate <= _RATES[1]:
        what = f"{8 * width} bits, {channels} channels, {rate} Hz"
        raise BadInputError(f"a .wav file of {what} cannot be used", where=where, fix=_FIX)
    whole = len(data) // (width * channels) * width * channels
    samples = np.frombuffer(data[:whole], _DTYPES[width]).reshape(-1, channels).mean(axis=1)
    centre = 128.0 if width == 1 else 0.0
    return np.asarray((samples - centre) / _FULL_SCALE[width], np.float32), rate


def to_pcm(sound: NDArray[np.floating]) -> NDArray[np.int16]:
    """Sound with full scale 1, of any shape, as 16-bit samples: rounded, and cut where it is louder."""
    return np.asarray(np.clip(np.rint(np.asarray(sound, np.float64) * 32768), -32768, 32767), np.int16)


def write_wav(samples: NDArray[np.int16]) -> bytes:
    """A WAV file of one channel at 16 kHz with these samples, int16[n]."""
    packed = io.BytesIO()
    with wave.open(packed, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.astype("<i2").tobytes())
    return packed.getvalue()


_FIX = "give PCM of 8, 16 or 32 bits, as 'sox in.wav -b 16 -r 16000 out.wav' writes it"


def _raw(content: bytes) -> tuple[NDArray[np.float32], int]:
    samples = np.frombuffer(content[: len(content) // 2 * 2], "<i2")
    return np.asarray(samples / np.float32(_FULL_SCALE[2]), np.float32), SAMPLE_RATE
