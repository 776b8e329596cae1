"""CIFAR-10 (Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images"): 50,000 + 10,000 pictures.

It comes from the author's server, in the binary version, because the Python version is a pickle. The set has no formal
licence.
"""

from __future__ import annotations

import tarfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tritguard.data.dataset import PIXEL_UNIT, Dataset
from tritguard.data.download import DAMAGED_FIX, RemoteFile, cache_folder, check_file, fetch
from tritguard.errors import BadInputError
from tritguard.progress import Progress

NAME = "cifar-10"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ARCHIVE = RemoteFile(
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    bytes=170052171,
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    advice="download it by other means and give its path as the data set",
)
_FOLDER = "cifar-10-batches-bin"
_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
_TEST = "test_batch.bin"
_SHAPE = (3, 32, 32)  # as in the file: channels first
_RECORD_BYTES = 1 + 3 * 32 * 32  # the label, then the pixels


def load_cifar10(
    progress: Progress | None = None,
    *,
    archive: Path | None = None,
    cache_dir: Path | None = None,
    source: RemoteFile = ARCHIVE,
) -> Dataset:
    """CIFAR-10: uint8[n, 32, 32, 3], 50,000 to train on and 10,000 to test with, 10 classes.

    Args:
        progress: called with (bytes done, total bytes) during the download.
        archive: a copy of `cifar-10-binary.tar.gz` to use instead of a download.
        cache_dir: where the download is kept; the user's cache folder by default.
        source: the published file.

    Raises:
        BadInputError: the archive cannot be downloaded or read, or is not the published one.
    """
    if archive is None:
        folder = cache_dir or cache_folder(NAME)
        fetch([source], folder, progress)
        archive = folder / source.name
    else:
        check_file(archive, source, fix="give the published cifar-10-binary.tar.gz, unchanged")
    batches = _read_batches(archive)
    train = np.concatenate([batches[name] for name in _TRAIN])
    x_train, y_train = _split(train)
    x_test, y_test = _split(batches[_TEST])
    return Dataset(
        name=NAME,
        x_test=x_test,
        y_test=y_test,
        classes=CLASSES,
        input_unit=PIXEL_UNIT,
        licence="no formal licence (Krizhevsky 2009), for research",
        x_train=x_train,
        y_train=y_train,
    )


def _read_batches(archive: Path) -> dict[str, NDArray[np.uint8]]:
    """The records of each batch file, uint8[n, 3073]. Nothing is unpacked to disk."""
    wanted = {f"{_FOLDER}/{name}": name for name in (*_TRAIN, _TEST)}
    batches = {}
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                stream = tar.extractfile(member) if member.name in wanted else None
                if stream is not None:
                    batches[wanted[member.name]] = np.frombuffer(stream.read(), np.uint8).reshape(-1, _RECORD_BYTES)
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        what = f"not a complete CIFAR-10 archive ({error})"
        raise BadInputError(what, where=str(archive), fix=DAMAGED_FIX) from error
    if missing := set(wanted.values()) - set(batches):
        raise BadInputError(f"contains no {min(missing)}", where=str(archive), fix=DAMAGED_FIX)
    return batches


def _split(records: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The pictures, channels last, and their labels."""
    pictures = records[:, 1:].reshape(-1, *_SHAPE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pictures), records[:, 0].astype(np.int64)
