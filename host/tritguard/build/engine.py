"""What runs the model in a firmware: the adapter behind engine.h, its model's files, and what it links with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tritguard.emit.bundle import Bundle

EngineName = Literal["native", "tflm"]

FLAGS = (
    "-std=c11", "-O2", "-g", "-ffunction-sections", "-fdata-sections", "-fno-common",
    "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow", "-Wundef", "-Wcast-qual", "-Wcast-align",
    "-Wmissing-prototypes", "-Wstrict-prototypes", "-Wold-style-definition", "-Wwrite-strings", "-Wpointer-arith",
    "-Wvla", "-Wduplicated-cond", "-Wlogical-op", "-Wdouble-promotion", "-Wfloat-conversion",
)  # fmt: skip
PROFILER_FLAG = "-DTG_PROFILE"  # the firmware times its own layers, which slows it down


@dataclass(frozen=True)
class Library:
    """What an engine of others links with.

    Attributes:
        includes: folders of headers.
        archives: static libraries.
        lib_deps: what PlatformIO fetches and builds; None where nothing is.
        defines: macros that library and adapter have to agree on.
    """

    includes: tuple[Path, ...] = ()
    archives: tuple[Path, ...] = ()
    lib_deps: str | None = None
    defines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Engine:
    """One engine with one model.

    Attributes:
        name: as HELLO reports it.
        adapter: its file in the firmware's folder.
        model_files: what stands in the project's src/model: contents by name.
        logit_count: int32 logits of an inference; 0 where the engine gives none.
        flags: of the compiler, for the firmware's own files.
        library: what it links with.
    """

    name: EngineName
    adapter: str
    model_files: dict[str, bytes]
    logit_count: int
    flags: tuple[str, ...]
    library: Library

    @property
    def sha256(self) -> bytes:
        """Hash of all that is not the firmware's own."""
        digest = hashlib.sha256(f"{self.name} {self.library.lib_deps} {self.library.defines} {self.flags}".encode())
        for name, content in sorted(self.model_files.items()):
            digest.update(f"\0{name}\0".encode() + hashlib.sha256(content).digest())
        for archive in self.library.archives:
            digest.update(hashlib.sha256(archive.read_bytes()).digest())
        return digest.digest()


def native_engine(bundle: Bundle, *, profile: bool = False) -> Engine:
    """The bundle's own C; with `profile` the firmware answers PROFILE, with the ticks of each layer."""
    return Engine(
        name="native",
        adapter="engine_native.c",
        model_files={file.name: file.read_bytes() for file in bundle.c_dir.iterdir()},
        logit_count=0 if bundle.manifest.logits is None else len(bundle.manifest.logits.scale),
        flags=(*FLAGS, PROFILER_FLAG) if profile else FLAGS,
        library=Library(),
    )
