"""Reads a firmware's use of flash and RAM by address, from ELF and linker map: a framework's sections are its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from elftools.elf.elffile import ELFFile

from tritguard.build.linker_map import Piece, read_pieces
from tritguard.build.record import FlashLayer, Region, Sizes
from tritguard.build.regions import read_regions
from tritguard.build.sizes import GAPS, read_layers

_CONSTANTS = re.compile(r"\.(?:rodata\.tg_l\d|progmem\.tritguard)")
_RESERVED = re.compile(r"heap|stack", re.IGNORECASE)
_BUILD = ".pio/build/firmware/"


def read_framework_sizes(elf: Path, linker_map: Path, image_bytes: int, stack_bytes: int) -> Sizes:
    """The sizes of a firmware that a framework's linker script placed.

    Args:
        elf: the firmware.
        linker_map: the map that GNU ld wrote with it.
        image_bytes: bytes of the image that is flashed, alignment included.
        stack_bytes: the stack that the board's file states; scripts reserve none, or any number.
    """
    with elf.open("rb") as file:
        image = ELFFile(file)
        regions = read_regions(image)
        layers, arena = read_layers(image)
    sections = {region.name: region.bytes for region in regions if region.load is not None}
    groups: dict[str, int] = {}
    for piece in _in_flash(linker_map.read_text(errors="replace"), regions):
        group = _group(piece)
        groups[group] = groups.get(group, 0) + piece.bytes
    for parts in (sections, groups):
        if gaps := image_bytes - sum(parts.values()):
            parts[GAPS] = gaps
    return Sizes(
        flash_total=image_bytes,
        flash_sections=sections,
        flash_groups=groups,
        flash_layers=tuple(FlashLayer(layer=layer, bytes=layers[layer]) for layer in sorted(layers)),
        ram_static=sum(region.bytes for region in regions if region.in_ram and not _RESERVED.search(region.name)),
        ram_arena=arena,
        stack_reserved=stack_bytes,
        regions=regions,
    )


def _in_flash(linker_map: str, regions: tuple[Region, ...]) -> Iterator[Piece]:
    flashed = {region.name: region for region in regions if region.load is not None}
    output, end = "", 0
    for piece in read_pieces(linker_map):
        region = flashed.get(piece.output)
        if region is None or not region.start <= piece.address < region.end:
            continue
        if piece.output != output:
            output, end = piece.output, region.start
        # Strings that were merged are listed once for each object that has them, at the same address.
        if piece.address >= end:
            end = piece.address + piece.bytes
            yield piece


def _group(piece: Piece) -> str:
    if _CONSTANTS.match(piece.section):
        return "weights and parameters"
    _, found, place = piece.file.partition(_BUILD)
    if not found:  # from the toolchain; some platforms bring archives of their own, too
        return "framework" if "framework" in piece.file else "C library"
    if place.startswith("src/model/"):
        return "kernels"
    return "protocol and port" if place.startswith("src/") else "framework"


def read_image(elf: Path) -> tuple[int, bytes]:
    """The address of what lies in flash, and its bytes as one piece, as `objcopy -O binary` has them.

    It is made of sections: a segment may hold the ELF's own header, which no board gets.
    """
    with elf.open("rb") as file:
        image = ELFFile(file)
        data = {section.name: section.data() for section in image.iter_sections() if section["sh_type"] != "SHT_NOBITS"}
        loaded = [(region.load, data[region.name]) for region in read_regions(image) if region.load is not None]
    first = min(address for address, _ in loaded)
    whole = bytearray(max(address + len(part) for address, part in loaded) - first)
    for address, part in loaded:
        whole[address - first : address - first + len(part)] = part
    return first, bytes(whole)
