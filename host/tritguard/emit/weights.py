"""Where a bundle's weights lie in an ELF made from its C, be it a firmware or the twin's library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section

from tritguard.emit.bundle import Layer, Manifest
from tritguard.errors import BadInputError
from tritguard.graph.formats.registry import WeightFormat, format_of


@dataclass(frozen=True)
class WeightArray:
    """A layer's weights as they lie in memory.

    Attributes:
        symbol: the C array's.
        layer: the layer's index.
        weight_format: how to read the bytes.
        offset: of the first byte in the ELF file.
        address: of the first byte where the ELF is loaded; relative to its base for a library.
        size: in bytes, what is padded included.
    """

    symbol: str
    layer: int
    weight_format: WeightFormat
    offset: int
    address: int
    size: int

    def read(self, image: bytes) -> bytes:
        """Its bytes in the ELF file's content."""
        return image[self.offset : self.offset + self.size]


def find_weights(elf: Path, manifest: Manifest) -> tuple[WeightArray, ...]:
    """The weights of every layer that has some, in the layers' order.

    Raises:
        BadInputError: no ELF with symbols, or a layer's weights are not in it: another engine's or model's firmware.
    """
    try:
        with elf.open("rb") as file:
            symbols, sections = _objects(ELFFile(file))
    except (OSError, ELFError) as error:
        raise BadInputError(f"is no ELF ({error})", where=str(elf)) from error
    return tuple(_find(layer, symbols, sections, elf) for layer in manifest.layers if layer.weight_format != "none")


def _objects(image: ELFFile) -> tuple[dict[str, tuple[int, int, int]], list[Section]]:
    """Address, size and section of each symbol, and the sections."""
    table = image.get_section_by_name(".symtab")
    symbols = {} if table is None else {
        symbol.name: (int(symbol["st_value"]), int(symbol["st_size"]), symbol["st_shndx"])
        for symbol in table.iter_symbols()
        if isinstance(symbol["st_shndx"], int)
    }  # fmt: skip
    return symbols, list(image.iter_sections())


def _find(layer: Layer, symbols: dict[str, tuple[int, int, int]], sections: list[Section], elf: Path) -> WeightArray:
    name = f"{layer.symbol}_{format_of(layer.weight_format).array}"
    if name not in symbols:
        raise BadInputError(
            f"holds no weights of layer {layer.index}",
            where=str(elf),
            fix="give the native engine's build of this bundle",
        )
    address, size, index = symbols[name]
    offset = address - int(sections[index]["sh_addr"]) + int(sections[index]["sh_offset"])
    return WeightArray(name, layer.index, layer.weight_format, offset, address, size)
