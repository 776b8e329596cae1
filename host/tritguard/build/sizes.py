"""Reads a firmware's use of flash and RAM from its ELF."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section

from tritguard.build.record import FlashLayer, Sizes
from tritguard.build.regions import read_regions

# The sections of firmware.ld, which groups code by purpose.
_GROUPS = {
    ".model": "weights and parameters",
    ".kernels": "kernels",
    ".boot": "protocol and port",
    ".vectors": "protocol and port",
    ".firmware": "protocol and port",
    ".init_array": "protocol and port",
    ".data": "protocol and port",
    ".library": "C library",
}
GAPS = "alignment"
_LAYER_SYMBOL = re.compile(r"tg_l(\d+)(?:p\d+)?_")


def read_sizes(elf: Path) -> Sizes:
    """The sizes of a firmware that was linked with firmware.ld."""
    with elf.open("rb") as file:
        image = ELFFile(file)
        sections = {section.name: int(section["sh_size"]) for section in _flash_sections(image)}
        flash_total = _image_bytes(image)
        layers, arena = read_layers(image)
        regions = read_regions(image)
        symbols = {symbol.name: symbol for symbol in image.get_section_by_name(".symtab").iter_symbols()}
    if gaps := flash_total - sum(sections.values()):
        sections[GAPS] = gaps
    groups: dict[str, int] = {}
    for name, size in sections.items():
        group = _GROUPS.get(name, name)
        groups[group] = groups.get(group, 0) + size

    def between(start: str, end: str) -> int:
        return int(symbols[end]["st_value"]) - int(symbols[start]["st_value"])

    return Sizes(
        flash_total=flash_total,
        flash_sections=sections,
        flash_groups=groups,
        flash_layers=tuple(FlashLayer(layer=layer, bytes=layers[layer]) for layer in sorted(layers)),
        ram_static=between("ld_static_start", "ld_static_end"),
        ram_arena=arena,
        stack_reserved=between("ld_stack_start", "ld_stack_end"),
        regions=regions,
    )


def read_layers(image: ELFFile) -> tuple[dict[int, int], int]:
    """The bytes of constants of each layer that has some, by its index; and those of the arena."""
    layers: dict[int, int] = {}
    arena = 0
    for symbol in image.get_section_by_name(".symtab").iter_symbols():
        if match := _LAYER_SYMBOL.match(symbol.name):
            layer = int(match[1])
            layers[layer] = layers.get(layer, 0) + int(symbol["st_size"])
        elif symbol.name == "tg_arena":
            arena = int(symbol["st_size"])
    return layers, arena


def read_compiler(elf: Path) -> str:
    """The compiler's name and version, as it wrote them into the ELF; empty if it wrote none."""
    with elf.open("rb") as file:
        comment = ELFFile(file).get_section_by_name(".comment")
        return "" if comment is None else str(comment.data().split(b"\0")[0].decode("ascii", "replace"))


def _flash_sections(image: ELFFile) -> Iterator[Section]:
    for section in image.iter_sections():
        if section["sh_flags"] & SH_FLAGS.SHF_ALLOC and section["sh_type"] != "SHT_NOBITS" and section["sh_size"]:
            yield section


def _image_bytes(image: ELFFile) -> int:
    loaded = [segment for segment in image.iter_segments("PT_LOAD") if segment["p_filesz"]]
    first = min(segment["p_paddr"] for segment in loaded)
    return int(max(segment["p_paddr"] + segment["p_filesz"] for segment in loaded) - first)
