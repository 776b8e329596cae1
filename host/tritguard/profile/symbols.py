"""Reads from an ELF where its functions lie and where the layers begin."""

from __future__ import annotations

import bisect
import struct
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile

from tritguard.errors import BadInputError

_LAYERS = ".debug_tritguard_layers"  # written by firmware/layer_mark.h
_RUN = "tg_model_run", "engine_run"  # the entry of generated C, and that of any engine
_DONE = "port_ticks_stop"


@dataclass(frozen=True)
class CodeMap:
    """The addresses of a firmware's functions and layers.

    Attributes:
        run: the address of the model's entry, or of the engine's if the model is not generated C.
        done: the address of the function that runs directly after the model.
        layers: (address, layer) of every layer's first instruction; empty for engines that do not tell layers apart.
    """

    run: int
    done: int
    layers: tuple[tuple[int, int], ...]
    _starts: tuple[int, ...]
    _functions: tuple[tuple[int, str], ...]  # end and name

    def function(self, address: int) -> str:
        """Return the name of the function at an address, or `?` if there is none."""
        position = bisect.bisect_right(self._starts, address) - 1
        if position < 0 or address >= self._functions[position][0]:
            return "?"
        return self._functions[position][1]


def read_code_map(elf: Path) -> CodeMap:
    """Read the code map of a firmware.

    Raises:
        BadInputError: the file is not a tritguard firmware.
    """
    with elf.open("rb") as file:
        image = ELFFile(file)
        marks = image.get_section_by_name(_LAYERS)
        table = image.get_section_by_name(".symtab")
        functions = {
            symbol["st_value"] & ~1: (symbol["st_size"], symbol.name)
            for symbol in (() if table is None else table.iter_symbols())
            if symbol["st_info"]["type"] == "STT_FUNC"
        }
        layers = () if marks is None else tuple(struct.iter_unpack("<II", marks.data()))
    entries = {name: address for address, (_, name) in functions.items()}
    run = next((entries[name] for name in _RUN if name in entries), None)
    if run is None or _DONE not in entries:
        raise BadInputError("is not a tritguard firmware", where=str(elf), fix="build it again")
    starts = tuple(sorted(functions))
    ends = tuple((start + max(functions[start][0], 2), functions[start][1]) for start in starts)
    return CodeMap(run, entries[_DONE], tuple((at & ~1, layer) for at, layer in layers), starts, ends)
