"""Drives that boot loaders show on USB, told by the INFO_UF2.TXT on them."""

from __future__ import annotations

import errno
import os
import re
import stat
import string
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

_INFO = "INFO_UF2.TXT"
_INFO_BYTES = 4096  # a boot loader's has some hundred
# Any device may show a drive: no link on it is followed, and no pipe there makes us wait. Windows has neither flag.
_PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_MOUNTS = Path("/proc/mounts")


def find_drive(model: str) -> Path | None:
    """The drive whose boot loader says by its `Board-ID` that it is of this model; None if none is mounted."""
    for place in _mounted():
        try:
            with _open_plain(place / _INFO, "rb") as file:
                said = file.read(_INFO_BYTES).decode(errors="replace")
        except OSError:
            continue
        if re.search(rf"^Board-ID:\s*{re.escape(model)}\s*$", said, re.MULTILINE | re.IGNORECASE):
            return place
    return None


def write_plain(path: Path, content: bytes) -> None:
    """Write a file on a drive, never through a link that lies there under its name.

    Raises:
        OSError: the drive does not take it, or something other than a file has the name.
    """
    with _open_plain(path, "wb") as file:
        file.write(content)


def _open_plain(path: Path, mode: Literal["rb", "wb"]) -> BinaryIO:
    file = open(path, mode, opener=lambda name, flags: os.open(name, flags | _PLAIN))  # noqa: SIM115 - its opener
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "is no plain file", str(path))
    return file


def _mounted() -> Iterator[Path]:
    if _MOUNTS.exists():
        for line in _MOUNTS.read_text().splitlines():
            place = line.split()[1]
            yield Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), place))
    elif sys.platform == "darwin":
        yield from Path("/Volumes").iterdir()
    else:
        yield from (Path(f"{letter}:/") for letter in string.ascii_uppercase)
