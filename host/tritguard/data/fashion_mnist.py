"""Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747): 60,000 + 10,000 pictures of clothes, MIT licence.

It is read from Debian's package `dataset-fashion-mnist` if that is installed, else downloaded from its authors' server.
The server has no TLS, so the files are trusted because of the checksums below.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tritguard.data.dataset import PIXEL_UNIT, Dataset
from tritguard.data.download import DAMAGED_FIX, RemoteFile, cache_folder, fetch
from tritguard.errors import BadInputError
from tritguard.progress import Progress

NAME = "fashion-mnist"
URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
DEBIAN_DIR = Path("/usr/share/datasets/fashion-mnist")
CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
_DEBIAN_FIX = "install Debian's package dataset-fashion-mnist, or check the network"


@dataclass(frozen=True)
class _File:
    """An IDX file. Debian and the authors compress it differently, so the checksum is that of the unpacked content."""

    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def header(self) -> bytes:
        """The IDX header: two zero bytes, type 8 (uint8), number of dimensions, each dimension as big-endian uint32."""
        return bytes([0, 0, 8, len(self.shape)]) + np.array(self.shape, ">u4").tobytes()

    @property
    def bytes(self) -> int:
        """The length of the unpacked content."""
        return len(self.header) + int(np.prod(self.shape))


_FILES = {
    "x_train": _File(
        "train-images-idx3-ubyte.gz",
        (60000, 28, 28),
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "y_train": _File(
        "train-labels-idx1-ubyte.gz",
        (60000,),
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    "x_test": _File(
        "t10k-images-idx3-ubyte.gz",
        (10000, 28, 28),
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    "y_test": _File(
        "t10k-labels-idx1-ubyte.gz",
        (10000,),
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}

SOURCES = tuple(
    RemoteFile(url=URL + name, bytes=size, sha256=sha256, advice=_DEBIAN_FIX)
    for name, size, sha256 in (
        (
            "train-images-idx3-ubyte.gz",
            26421880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        ("train-labels-idx1-ubyte.gz", 29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        ("t10k-images-idx3-ubyte.gz", 4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        ("t10k-labels-idx1-ubyte.gz", 5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    )
)


def load_fashion_mnist(
    progress: Progress | None = None,
    *,
    debian_dir: Path = DEBIAN_DIR,
    cache_dir: Path | None = None,
    sources: tuple[RemoteFile, ...] = SOURCES,
) -> Dataset:
    """Fashion-MNIST: uint8[n, 28, 28, 1], 60,000 to train on and 10,000 to test with, 10 classes.

    Args:
        progress: called with (bytes done, total bytes) during the download.
        debian_dir: where Debian's package installs the files.
        cache_dir: where downloads are kept; the user's cache folder by default.
        sources: the published files.

    Raises:
        BadInputError: a file cannot be downloaded, or its content is not the published one.
    """
    folder = debian_dir
    if not all((debian_dir / file.name).is_file() for file in _FILES.values()):
        folder = cache_dir or cache_folder(NAME)
        fetch(list(sources), folder, progress)
    arrays = {key: _read(folder / file.name, file) for key, file in _FILES.items()}
    return Dataset(
        name=NAME,
        x_test=arrays["x_test"][..., None],
        y_test=arrays["y_test"].astype(np.int64),
        classes=CLASSES,
        input_unit=PIXEL_UNIT,
        licence="MIT",
        x_train=arrays["x_train"][..., None],
        y_train=arrays["y_train"].astype(np.int64),
    )


def _read(path: Path, file: _File) -> NDArray[np.uint8]:
    content = _unpack(path.read_bytes(), file, str(path))
    return np.frombuffer(content, np.uint8, offset=len(file.header)).reshape(file.shape)


def _unpack(packed: bytes, file: _File, where: str) -> bytes:
    """The content of a gzip file, checked to be the published one."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
            content = stream.read(file.bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInputError(f"not a whole gzip file ({error})", where=where, fix=DAMAGED_FIX) from error
    if hashlib.sha256(content).hexdigest() != file.sha256 or not content.startswith(file.header):
        raise BadInputError("checksum failure: the content is not the published one", where=where, fix=DAMAGED_FIX)
    return content
