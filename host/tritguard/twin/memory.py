"""A twin whose weights can be changed in place, to compute what the same C does after a fault in flash."""

from __future__ import annotations

import ctypes
import mmap
import shutil
from pathlib import Path

import numpy as np
from elftools.elf.elffile import ELFFile
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.emit.bundle import Bundle
from tritguard.emit.weights import WeightArray, find_weights
from tritguard.errors import ToolMissingError
from tritguard.files import scratch_folder
from tritguard.twin.library import Twin

_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE


class OpenTwin(Twin):
    """A twin with writable weights, which it shares with no other twin.

    Attributes:
        arrays: where each layer's weights are stored, in the order of the layers.
        weights: by symbol, a uint8 view of the library's own memory. Later inferences use whatever is written there.

    Raises:
        ToolMissingError: the system does not let a program change its constants.
    """

    _fixed = False

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        self.arrays: tuple[WeightArray, ...] = ()
        self.weights: dict[str, NDArray[np.uint8]] = {}
        super().__init__(bundle, threads)

    @override
    def _load(self, library: Path) -> ctypes.CDLL:
        with scratch_folder() as folder:
            copy = folder / "open.so"  # loading one file twice gives both users the same memory
            shutil.copyfile(library, copy)
            loaded = ctypes.CDLL(str(copy))
            base = _address(loaded.twin_run) - _symbol(copy, "twin_run")
            self.arrays = find_weights(copy, self.bundle.manifest)
        for array in self.arrays:
            start = base + array.address
            _unlock(start, array.size)
            self.weights[array.symbol] = np.ctypeslib.as_array((ctypes.c_uint8 * array.size).from_address(start))
        return loaded

    def symbol(self, layer: int) -> str:
        """Return the symbol of a layer's weights."""
        return next(array.symbol for array in self.arrays if array.layer == layer)

    def layer(self, symbol: str) -> int:
        """Return the layer whose weights a symbol names."""
        return next(array.layer for array in self.arrays if array.symbol == symbol)


def _address(function: object) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]


def _symbol(library: Path, name: str) -> int:
    with library.open("rb") as file:
        return int(ELFFile(file).get_section_by_name(".dynsym").get_symbol_by_name(name)[0]["st_value"])


def _unlock(start: int, size: int) -> None:
    page = start - start % mmap.PAGESIZE
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(start + size - page), _READ_WRITE) != 0:
        raise ToolMissingError("this system does not let a program change the twin's constants", fix="use Linux")
