"""The engine that runs the model in a firmware: its adapter behind engine.h, the model's files, what it links with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tritguard.emit.bundle import Bundle
from tritguard.emit.trust import trusted_sources

EngineName = Literal["native", "tflm"]

FLAGS = (
    "-std=c11", "-O2", "-g", "-ffunction-sections", "-fdata-sections", "-fno-common",
    "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow", "-Wundef", "-Wcast-qual", "-Wcast-align",
    "-Wmissing-prototypes", "-Wstrict-prototypes", "-Wold-style-definition", "-Wwrite-strings", "-Wpointer-arith",
    "-Wvla", "-Wduplicated-cond", "-Wlogical-op", "-Wdouble-promotion", "-Wfloat-conversion",
)  # fmt: skip
C_ONLY = {"-Wmissing-prototypes", "-Wstrict-prototypes", "-Wold-style-definition"}
"""Warnings that the C++ compiler does not know."""
INPUT_FLAG = "-DTG_INPUT_IN_ARENA"  # requests are received where the plan of the arena has the input
PROFILER_FLAG = "-DTG_PROFILE"  # the firmware times its own layers, which slows it down


@dataclass(frozen=True)
class Library:
    """A third-party library that an engine links with.

    Attributes:
        includes: folders with headers.
        archives: static libraries.
        lib_deps: what PlatformIO fetches and builds, as in its `lib_deps`; None to fetch nothing.
        defines: macros that have to be the same for library and adapter.
    """

    includes: tuple[Path, ...] = ()
    archives: tuple[Path, ...] = ()
    lib_deps: str | None = None
    defines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Engine:
    """An engine together with one model.

    Attributes:
        name: the name that HELLO reports.
        adapter: the name of its source file in `firmware/`.
        model_files: contents of the files in the project's src/model, by name.
        logit_count: number of int32 logits per inference; 0 if the engine gives none.
        flags: compiler flags for the firmware's own files.
        library: the library it links with.
    """

    name: EngineName
    adapter: str
    model_files: dict[str, bytes]
    logit_count: int
    flags: tuple[str, ...]
    library: Library

    @property
    def sha256(self) -> bytes:
        """SHA-256 of everything the engine adds to the firmware's own sources."""
        digest = hashlib.sha256(f"{self.name} {self.library.lib_deps} {self.library.defines} {self.flags}".encode())
        for name, content in sorted(self.model_files.items()):
            digest.update(f"\0{name}\0".encode() + hashlib.sha256(content).digest())
        for archive in self.library.archives:
            digest.update(hashlib.sha256(archive.read_bytes()).digest())
        return digest.digest()


def native_engine(bundle: Bundle, *, profile: bool = False) -> Engine:
    """The engine of a bundle's generated C; with `profile` the firmware answers PROFILE with each layer's ticks."""
    return Engine(
        name="native",
        adapter="engine_native.c",
        model_files=trusted_sources(bundle),
        logit_count=0 if bundle.manifest.logits is None else len(bundle.manifest.logits.scale),
        flags=(*FLAGS, INPUT_FLAG, PROFILER_FLAG) if profile else (*FLAGS, INPUT_FLAG),
        library=Library(),
    )
