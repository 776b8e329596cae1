"""Keyword data from the user's own sound files, with the front end of MLPerf Tiny."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np

from tritguard.data.dataset import Dataset
from tritguard.data.mfcc import INPUT_UNIT, mfcc
from tritguard.data.sound import SUFFIXES, read_clip, to_pcm
from tritguard.errors import BadInputError
from tritguard.progress import Progress

_LAYOUT = "give CLASS/NAME.wav, or CLASS_SPEAKER_INDEX.wav as the Free Spoken Digit Dataset has it"
_FLAT = re.compile(r"(?P<word>[^_]+)_(?P<speaker>.+)_(?P<index>\d+)")
_FLAT_TEST_INDICES = 5  # recordings 0 to 4 of each word and speaker: the split of FSDD's authors
_TEST_SHARE = 0.2
_REPETITION = "_nohash_"  # Speech Commands: SPEAKER_nohash_REPETITION.wav; all of a speaker's go to one part


def read_keywords(folder: Path, progress: Progress | None = None) -> Dataset:
    """Read keyword data from a folder of `.wav` files, or of headerless int16 files at 16 kHz (`.pcm`, `.raw`).

    The folder has one of two layouts. Either each class has a subfolder, and a fifth of its files, chosen by a hash of
    the file's name up to any `_nohash_`, is the test set. Or all files lie in the folder itself, are named
    `CLASS_SPEAKER_INDEX.wav`, and the indices 0 to 4 are the test set. Classes are sorted by name.

    Args:
        folder: where the files are.
        progress: called with (files read, files in total).

    Returns:
        The data set, with samples float32[n, 49, 10, 1] in MFCC.

    Raises:
        BadInputError: there are no sound files in one of these layouts, the training or the test set would be empty, or
            a file cannot be read.
    """
    files = [(path, *_place(path, folder)) for path in _sounds(folder)]
    if not files:
        raise BadInputError("no sound files", where=str(folder), fix=_LAYOUT)
    classes = tuple(sorted({word for _, word, _ in files}))
    clips = np.empty((len(files), 16_000), np.float32)
    if progress:
        progress(0, len(files))
    for index, (path, _, _) in enumerate(files):
        clips[index] = to_pcm(read_clip(path)) / np.float32(32768)  # as `sound_test` is: 32 bits are finer
        if progress:
            progress(index + 1, len(files))
    labels = np.array([classes.index(word) for _, word, _ in files], np.int64)
    is_test = np.array([test for _, _, test in files])
    for part, what in ((is_test, "test"), (~is_test, "training")):
        if not part.any():
            raise BadInputError(f"none of the files belongs to the {what} set", where=str(folder), fix=_LAYOUT)
    features = mfcc(clips)
    return Dataset(
        name=folder.resolve().name,
        x_test=features[is_test],
        y_test=labels[is_test],
        classes=classes,
        input_unit=INPUT_UNIT,
        holds_features=True,
        licence="unknown",
        x_train=features[~is_test],
        y_train=labels[~is_test],
        sound_test=to_pcm(clips[is_test]),
    )


def _sounds(folder: Path) -> list[Path]:
    return sorted(
        path
        for pattern in ("*", "*/*")
        for path in folder.glob(pattern)
        if path.suffix.lower() in SUFFIXES and path.is_file()
    )


def _place(path: Path, folder: Path) -> tuple[str, bool]:
    """A file's class, and whether it belongs to the test set."""
    if path.parent != folder:
        speaker = path.stem.partition(_REPETITION)[0]
        share = int.from_bytes(hashlib.sha256(speaker.encode()).digest()[:4]) / 2**32
        return path.parent.name, share < _TEST_SHARE
    match = _FLAT.fullmatch(path.stem)
    if match is None:
        raise BadInputError("its name does not tell its class", where=str(path), fix=_LAYOUT)
    return match["word"], int(match["index"]) < _FLAT_TEST_INDICES
