"""Reads which names a static library defines, from the index that `ar` keeps at its start."""

from __future__ import annotations

import struct
from pathlib import Path

from tritguard.errors import BadInputError

_MAGIC = b"!<arch>\n"
_THIN = b"!<thin>\n"  # the same, with the objects in files of their own
_HEADER_BYTES = 60
_NAME, _SIZE = slice(0, 16), slice(48, 58)  # fields of a member's header
_INDEXES = {b"/": ">I", b"/SYM64/": ">Q"}  # the member that is the index, and a number in it


def defined_symbols(archive: Path) -> frozenset[str]:
    """The names that a static library defines, as its objects have them: those of C++ are mangled.

    Args:
        archive: a library of `ar`, whose index the linker reads as well.

    Raises:
        BadInputError: the file is no library, or has no index.
    """
    with archive.open("rb") as file:
        magic, header = file.read(len(_MAGIC)), file.read(_HEADER_BYTES)
        if magic not in (_MAGIC, _THIN):
            raise BadInputError("is not a static library", where=str(archive))
        number = _INDEXES.get(header[_NAME].strip())
        if number is None:
            raise BadInputError(
                "this library has no index of its symbols", where=str(archive), fix="run arm-none-eabi-ranlib on it"
            )
        index = file.read(int(header[_SIZE]))
    (count,) = struct.unpack_from(number, index)
    names = index[struct.calcsize(number) * (1 + count) :].split(b"\0")
    return frozenset(name.decode(errors="replace") for name in names[:count])
