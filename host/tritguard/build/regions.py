"""Reads where a firmware's sections lie in memory, and where their bytes lie in flash, from its ELF."""

from __future__ import annotations

from collections.abc import Iterator

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from tritguard.build.record import Region


def read_regions(image: ELFFile) -> tuple[Region, ...]:
    """The sections that take memory, by address."""
    return tuple(sorted(_regions(image), key=lambda region: region.start))


def _regions(image: ELFFile) -> Iterator[Region]:
    loaded = [segment for segment in image.iter_segments("PT_LOAD") if segment["p_filesz"]]
    for section in image.iter_sections():
        start, size = int(section["sh_addr"]), int(section["sh_size"])
        if not section["sh_flags"] & SH_FLAGS.SHF_ALLOC or size == 0:
            continue
        load = None
        if section["sh_type"] != "SHT_NOBITS":
            held = (s for s in loaded if s["p_offset"] <= section["sh_offset"] < s["p_offset"] + s["p_filesz"])
            segment = next(held, None)
            load = None if segment is None else start - int(segment["p_vaddr"]) + int(segment["p_paddr"])
        yield Region(name=section.name, start=start, bytes=size, load=load)
