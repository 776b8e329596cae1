"""Reads from GNU ld's map which object every piece of a firmware comes from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BEGIN = "Linker script and memory map"
# A name in the first column is an output section, and its pieces follow, indented by one blank: name, address, bytes
# and file. A long name is alone on its line.
_OUTPUT = re.compile(r"(?P<section>[._A-Za-z]\S*)(?:\s|$)")
_PIECE = re.compile(r" (?P<section>\S+)\s+0x(?P<address>[0-9a-f]+)\s+0x(?P<bytes>[0-9a-f]+) (?P<file>\S.*)")
_CONTINUED = " " * 16
_LONG_NAME = re.compile(r" \S+$")


@dataclass(frozen=True)
class Piece:
    """A piece of one object file, as it was placed.

    Attributes:
        output: the section of the ELF that it is in.
        section: its section in the object file.
        address: where it lies.
        bytes: its size.
        file: the object's path.
    """

    output: str
    section: str
    address: int
    bytes: int
    file: str


def read_pieces(linker_map: str) -> Iterator[Piece]:
    """The pieces that a map lists as placed, in its order."""
    _, _, placed = linker_map.rpartition(_BEGIN)
    output, name = "", ""
    for line in placed.splitlines():
        if _LONG_NAME.fullmatch(line):
            name = line
            continue
        whole, name = name + line if line.startswith(_CONTINUED) else line, ""
        if match := _PIECE.fullmatch(whole):
            size = int(match["bytes"], 16)
            if size:
                yield Piece(output, match["section"], int(match["address"], 16), size, match["file"])
        elif match := _OUTPUT.match(line):
            output = match["section"]
