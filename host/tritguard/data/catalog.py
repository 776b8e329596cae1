"""Finds a data set by the name or path that the user gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tritguard.data import cifar10, fashion_mnist, speech_commands
from tritguard.data.dataset import Dataset, read_dataset
from tritguard.data.keywords import read_keywords
from tritguard.errors import BadInputError
from tritguard.progress import Progress

KNOWN: dict[str, Callable[..., Dataset]] = {
    fashion_mnist.NAME: fashion_mnist.load_fashion_mnist,
    cifar10.NAME: cifar10.load_cifar10,
    speech_commands.NAME: speech_commands.load_speech_commands,
}
_BY_ARCHIVE: dict[str, Callable[..., Dataset]] = {
    cifar10.ARCHIVE.name: cifar10.load_cifar10,
    speech_commands.ARCHIVE.name: speech_commands.load_speech_commands,
}


def load_dataset(name_or_path: str, progress: Progress | None = None) -> Dataset:
    """Load a data set by its name, or from the user's files.

    Args:
        name_or_path: `fashion-mnist`, `cifar-10` or `speech-commands`, which are downloaded once; or the path of an
            `.npz` file, of an official archive of CIFAR-10 or Speech Commands, or of a folder of sound files.
        progress: called with (done, total) while a set is downloaded or read.

    Raises:
        BadInputError: it is none of these, or the data cannot be downloaded or read.
    """
    if name_or_path in KNOWN:
        return KNOWN[name_or_path](progress)
    path = Path(name_or_path)
    if path.is_dir():
        return read_keywords(path, progress)
    if not path.is_file():
        names = ", ".join(KNOWN)
        fix = f"give one of {names}, an .npz file's path, or a folder of sound files"
        what = "no such file" if path.suffix or len(path.parts) > 1 else "no such data set"
        raise BadInputError(what, where=name_or_path, fix=fix)
    if path.name in _BY_ARCHIVE:
        return _BY_ARCHIVE[path.name](progress, archive=path)
    return read_dataset(path)
