"""Data sets by what the user calls them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tritguard.data.dataset import Dataset, read_dataset
from tritguard.data.fashion_mnist import load_fashion_mnist
from tritguard.errors import BadInputError

FASHION_MNIST = "fashion-mnist"


def load_dataset(name_or_path: str, report: Callable[[int, int], None] | None = None) -> Dataset:
    """The data set `fashion-mnist`, or that of an `.npz` file.

    Args:
        name_or_path: a known name or a path.
        report: called with (bytes done, bytes in all) while a known set is downloaded.

    Raises:
        BadInputError: neither, or the data cannot be had or read.
    """
    if name_or_path == FASHION_MNIST:
        return load_fashion_mnist(report)
    path = Path(name_or_path)
    if not path.is_file():
        raise BadInputError("no such data set", where=name_or_path, fix=f"give {FASHION_MNIST} or an .npz file's path")
    return read_dataset(path)
