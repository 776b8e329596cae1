"""The build folder: the firmware, and a record of what it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tritguard.boards import Board
from tritguard.build.engine import PROFILER_FLAG, EngineName
from tritguard.emit.bundle import hash_file
from tritguard.errors import BadInputError
from tritguard.records import Record, from_json

RECORD = "build.json"
ELF = "firmware.elf"
BINARY = "firmware.bin"
MAP = "firmware.map"
PROJECT = "project"

_ImageName = Annotated[str, Field(pattern=r"^firmware\.[a-z0-9]+$")]


class FlashLayer(Record):
    """The bytes of constants that one layer of the bundle keeps in flash."""

    layer: int
    bytes: int


class Region(Record):
    """A section of a firmware in its chip's memory.

    Attributes:
        start: its first address.
        load: the address in flash where its bytes lie; None if it has none there, as what starts as zeros.
    """

    name: str
    start: int
    bytes: int
    load: int | None

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.start + self.bytes

    @property
    def in_ram(self) -> bool:
        """Whether it takes RAM: nothing of it is in flash, or it is copied from there."""
        return self.load is None or self.load != self.start


class Sizes(Record):
    """The bytes that a firmware takes in flash and RAM, read from its ELF.

    Attributes:
        flash_total: the whole image; the sections add up to it, and so do the groups.
        flash_sections: bytes by section; `alignment` is the gaps between sections.
        flash_groups: bytes by purpose.
        flash_layers: bytes by layer of the bundle, in order; layers without constants are left out.
        ram_static: everything in RAM except the stack; includes the arena.
        ram_arena: the arena, which holds activations and scratch.
        stack_reserved: what is reserved for the stack.
        regions: the sections in memory, by address; none in records of earlier versions.
    """

    flash_total: int
    flash_sections: dict[str, int]
    flash_groups: dict[str, int]
    flash_layers: tuple[FlashLayer, ...]
    ram_static: int
    ram_arena: int
    stack_reserved: int
    regions: tuple[Region, ...] = ()


class BuildRecord(Record):
    """`build.json`: what a firmware was made from, and its sizes. Hashes and ids are in hex."""

    schema_version: Literal[1] = 1
    tritguard: str
    board: Board
    engine: EngineName = "native"
    build_id: str  # 16 bytes, see project.build_id; HELLO reports them
    bundle_sha256: str
    model_sha256: str
    elf_sha256: str
    binary_sha256: str
    images: dict[_ImageName, str] = Field(default={})  # for the platform's uploaders: SHA-256 by name
    compiler: str
    flags: tuple[str, ...]
    max_ram: int | None = None  # the RAM that the firmware may take, in bytes; it bounds the UART's ring
    sizes: Sizes

    @property
    def times_layers(self) -> bool:
        """Whether the firmware answers PROFILE."""
        return PROFILER_FLAG in self.flags


@dataclass(frozen=True)
class Build:
    """An opened build folder."""

    path: Path
    record: BuildRecord

    @property
    def elf(self) -> Path:
        """The firmware with its symbols."""
        return self.path / ELF

    @property
    def binary(self) -> Path:
        """The firmware as it is written to flash."""
        return self.path / BINARY

    @property
    def project(self) -> Path:
        """The PlatformIO project that it was built from; only firmware on a framework keeps one.

        It is for people: no hash covers it and nothing here reads it, because what it names would run.
        """
        return self.path / PROJECT


def open_build(path: Path) -> Build:
    """Open a build folder and check the firmware against its record.

    Raises:
        BadInputError: the folder is not a build, or a file is missing or was changed since it was built.
    """
    record_path = path / RECORD
    if not record_path.is_file():
        what = f"no {RECORD} here" if path.exists() else "no such folder"
        raise BadInputError(what, where=str(path), fix="give a folder written by 'tritguard build'")
    record = from_json(BuildRecord, record_path, fix="build again")
    for name, digest in ((ELF, record.elf_sha256), (BINARY, record.binary_sha256), *record.images.items()):
        file = path / name
        if not file.is_file() or hash_file(file) != digest:
            state = "was changed" if file.is_file() else "is missing"
            raise BadInputError(f"{name} {state} since it was built", where=str(path), fix="build again")
    return Build(path, record)
