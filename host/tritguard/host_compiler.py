"""Shared libraries, built with this machine's C compiler and kept in a cache, so that each is built only once."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from tritguard.errors import BuildError, ToolMissingError
from tritguard.files import scratch_folder

_NAMES = ("cc", "gcc", "clang")
_DIGITS = 32
# What a folder of the cache keeps at most; what was used last stays longest.
_CACHE_BYTES = 512 << 20
_CACHE_SECONDS = 90 * 86400.0
_QUOTED = re.compile(rb'"([^"\n]+)"')


def host_compiler() -> list[str] | None:
    """The compiler's command: CC with its options, else the first of cc, gcc and clang that exists, else None."""
    command = shlex.split(os.environ.get("CC", "")) or [name for name in _NAMES if shutil.which(name)][:1]
    return command if command and shutil.which(command[0]) else None


def build_library(
    purpose: str,
    options: tuple[str, ...],
    sources: dict[str, bytes],
    *,
    cache: str,
    common: Collection[str] = (),
) -> Path:
    """Compile a shared library, or take it from the cache.

    A library's name holds the hash of everything that goes into it (compiler and processor included) and the hash of
    its own content. One that a full disk or a crash cut short is therefore built again and never loaded.

    Args:
        purpose: what the library is, for messages.
        options: for the compiler; `-march=native` is left out if the compiler does not accept it.
        sources: contents by file name, written to a separate folder; the `.c` files are compiled.
        cache: name of the folder below tritguard's in the user's cache.
        common: sources that other libraries contain as well; their objects are cached too.

    Raises:
        ToolMissingError: there is no C compiler.
        BuildError: the sources do not compile, or the cache cannot be written.
    """
    compiler = host_compiler()
    if compiler is None:
        raise ToolMissingError(f"no C compiler for {purpose}", fix="install gcc or clang, or set CC")
    command = (*compiler, *_known(tuple(compiler), options), "-fPIC")
    root = Path(platformdirs.user_cache_dir("tritguard"))
    libraries = _Cache(root / cache, ".so")
    key = _key(command, sources)
    if kept := libraries.find(key):
        return kept
    try:
        with scratch_folder(libraries.make()) as scratch:
            objects = _Objects(purpose, command, sources, scratch, _Cache(root / "objects", ".o"))
            return libraries.keep(key, objects.link(common))
    except OSError as error:
        fix = "make the folder writable, or name another one in XDG_CACHE_HOME"
        why = f"{purpose} cannot be stored ({error.strerror})"
        raise BuildError(why, where=str(libraries.folder), fix=fix) from error


@dataclass(frozen=True)
class _Cache:
    """Files named by the hash of what they were made from and the hash of their own content."""

    folder: Path
    suffix: str

    def make(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder

    def find(self, key: str) -> Path | None:
        """The file with this key, or None. A damaged one is removed."""
        for file in self.folder.glob(f"{key}-*{self.suffix}"):
            if file.name == self._name(key, file):
                with suppress(OSError):  # a cache that may only be read
                    os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns))  # when it was last used, for `_trim`
                return file
            file.unlink(missing_ok=True)
        return None

    def keep(self, key: str, built: Path) -> Path:
        """Move a built file into the cache, and return its new path."""
        kept = built.replace(self.make() / self._name(key, built))
        self._trim(kept)
        return kept

    def _trim(self, newest: Path) -> None:
        """Remove what was not used for long, and what was used least recently until the rest is small enough."""
        found = []
        for file in self.folder.glob(f"*-*{self.suffix}"):
            with suppress(OSError):  # another process removed it
                found.append((file.stat().st_atime, file.stat().st_size, file))
        total = sum(size for _, size, _ in found)
        for used, size, file in sorted(found):
            if file != newest and (total > _CACHE_BYTES or time.time() - used > _CACHE_SECONDS):
                file.unlink(missing_ok=True)
                total -= size

    def _name(self, key: str, file: Path) -> str:
        return f"{key}-{hashlib.sha256(file.read_bytes()).hexdigest()[:_DIGITS]}{self.suffix}"


@dataclass(frozen=True)
class _Objects:
    """Compiles the units of one library in a scratch folder on the same disk as the cache."""

    purpose: str
    command: tuple[str, ...]
    sources: dict[str, bytes]
    scratch: Path
    kept: _Cache

    def link(self, common: Collection[str]) -> Path:
        for name, content in self.sources.items():
            (self.scratch / name).write_bytes(content)
        units = sorted(name for name in self.sources if name.endswith(".c"))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(lambda unit: self._shared(unit) if unit in common else self._compile(unit), units))
        built = self.scratch / "built.so"
        self._run("-shared", *map(str, objects), "-o", str(built))
        return built

    def _shared(self, unit: str) -> Path:
        key = _key(self.command, {name: self.sources[name] for name in self._read_by(unit)})
        return self.kept.find(key) or self.kept.keep(key, self._compile(unit))

    def _compile(self, unit: str) -> Path:
        built = (self.scratch / unit).with_suffix(".o")
        self._run("-c", f"-I{self.scratch}", str(self.scratch / unit), "-o", str(built))
        return built

    def _read_by(self, unit: str) -> set[str]:
        """The unit and all headers it can reach. Every quoted name counts, as a macro may name an include."""
        found: set[str] = set()
        ahead = {unit, *self.command} & self.sources.keys()
        while ahead:
            found |= ahead
            quoted = {match[1].decode() for name in ahead for match in _QUOTED.finditer(self.sources[name])}
            ahead = (quoted & self.sources.keys()) - found
        return found

    def _run(self, *arguments: str) -> None:
        done = subprocess.run([*self.command, *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[:200])
            raise BuildError(f"{self.purpose} does not compile ({first.strip()})", fix="set CC to another compiler")


def _key(command: tuple[str, ...], sources: dict[str, bytes]) -> str:
    identity = hashlib.sha256(repr((command, _target(command))).encode())
    for name, content in sorted(sources.items()):
        identity.update(repr((name, len(content))).encode() + content)
    return identity.hexdigest()[:_DIGITS]


@functools.cache
def _known(compiler: tuple[str, ...], options: tuple[str, ...]) -> tuple[str, ...]:
    """The options, without `-march=native` if the compiler does not know it for its processor."""
    probe = [*compiler, "-march=native", "-E", "-x", "c", os.devnull]
    native = subprocess.run(probe, capture_output=True, check=False).returncode == 0
    return tuple(option for option in options if native or option != "-march=native")


@functools.cache
def _target(command: tuple[str, ...]) -> str:
    """The compiler's version and the processor it tunes for. A cache that machines share has to tell them apart."""
    probe = [*command, "-E", "-v", "-x", "c", os.devnull]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    return "\n".join(line for line in done.stderr.splitlines() if "version" in line or "march" in line)
