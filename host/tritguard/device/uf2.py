"""UF2, the format that boot loaders take as a file copied onto a drive (github.com/microsoft/uf2)."""

from __future__ import annotations

import struct

_BLOCK = struct.Struct("<8I476sI")
_MAGIC = 0x0A324655, 0x9E5D5157, 0x0AB16F30
_FAMILY_PRESENT = 0x2000
_BYTES = 256  # bytes of the image in a block, which all boot loaders take


def to_uf2(image: bytes, address: int, family: int) -> bytes:
    """Pack an image into UF2 blocks.

    Args:
        image: what goes into flash.
        address: the address of its first byte.
        family: the number of the chip's family, which boot loaders of other chips refuse.
    """
    pieces = [image[start : start + _BYTES] for start in range(0, len(image), _BYTES)]
    first, second, last = _MAGIC
    return b"".join(
        _BLOCK.pack(
            first, second, _FAMILY_PRESENT, address + _BYTES * i, _BYTES, i, len(pieces), family,
            piece.ljust(_BYTES, b"\0"), last,
        )
        for i, piece in enumerate(pieces)
    )  # fmt: skip
