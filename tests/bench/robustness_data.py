"""Data of the robustness tables: from TRITGUARD_SHARED where it holds them, otherwise those that tritguard fetches."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.support.shared import ROOT
from tritguard.data import Dataset, load_dataset
from tritguard.data.cifar10 import CLASSES
from tritguard.data.dataset import PIXEL_UNIT
from tritguard.data.mfcc import INPUT_UNIT, fit_clip, mfcc, resample
from tritguard.data.sound import to_pcm
from tritguard.errors import BadInputError

_FSDD_RATE = 8000
_FSDD_TEST_INDICES = 5  # by FSDD's convention


def _shared(name: str) -> Path:
    return Path(os.environ.get("TRITGUARD_SHARED", ROOT.parent / "shared")) / "data" / name


def digits(*, training: bool = True) -> Dataset:
    """Spoken digits as keywords: float32[n, 49, 10, 1], 300 to test with and, if `training`, 2,700 to train on."""
    path = _shared("fsdd.npz")
    if not path.is_file():
        fix = "name the folder that holds data/fsdd.npz in TRITGUARD_SHARED: CONTRIBUTING.md"
        raise BadInputError("no spoken digits here", where=str(path), fix=fix)
    arrays = dict(np.load(path))
    audio, bounds = arrays["audio"] / np.float32(32768), list(pairwise(arrays["offsets"]))
    y, test = arrays["labels"].astype(np.int64), arrays["index"] < _FSDD_TEST_INDICES

    def clips(chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
        whole = (audio[slice(*bounds[index])] for index in np.flatnonzero(chosen))
        return np.stack([fit_clip(resample(clip, _FSDD_RATE)) for clip in whole])

    return Dataset(
        name="spoken digits (FSDD)",
        x_test=mfcc(clips(test)),
        y_test=y[test],
        classes=tuple(map(str, range(10))),
        input_unit=INPUT_UNIT,
        holds_features=True,
        licence="CC BY-SA 4.0, Free Spoken Digit Dataset (Jackson et al.)",
        x_train=mfcc(clips(~test)) if training else None,
        y_train=y[~test] if training else None,
        sound_test=to_pcm(clips(test)),
    )


def cifar10() -> Dataset:
    """CIFAR-10: the pictures kept as JPEG where they are there, and then named so, otherwise the original."""
    path = _shared("cifar10_jpeg.npz")
    if not path.is_file():
        return load_dataset("cifar-10")
    arrays = dict(np.load(path))
    x_train, x_test = (_pictures(arrays[f"{part}_jpeg"], arrays[f"{part}_offsets"]) for part in ("train", "test"))
    return Dataset(
        name="CIFAR-10 (JPEG)",
        x_test=x_test,
        y_test=arrays["test_labels"].astype(np.int64),
        classes=CLASSES,
        input_unit=PIXEL_UNIT,
        licence="no formal licence (Krizhevsky 2009), for research",
        x_train=x_train,
        y_train=arrays["train_labels"].astype(np.int64),
    )


def _pictures(packed: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.uint8]:
    files = (packed[a:b].tobytes() for a, b in pairwise(offsets))
    return np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])


TABLES: dict[str, Callable[[], Dataset]] = {"digits": digits, "cifar10": cifar10, "cifar10-small": cifar10}
