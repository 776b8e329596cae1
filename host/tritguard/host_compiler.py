"""Shared libraries built with this machine's C compiler, once: the cache holds what was built before."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import platformdirs

from tritguard.errors import BuildError, ToolMissingError

_NAMES = ("cc", "gcc", "clang")
_DIGITS = 32


def host_compiler() -> list[str] | None:
    """The compiler as a command: CC with its options, else the first of cc, gcc and clang; None without one."""
    command = shlex.split(os.environ.get("CC", "")) or [name for name in _NAMES if shutil.which(name)][:1]
    return command if command and shutil.which(command[0]) else None


def build_library(purpose: str, options: tuple[str, ...], sources: dict[str, bytes], *, cache: str) -> Path:
    """Compile a shared library, or take it from the cache.

    A library is named by the hash of all that goes into it (compiler and processor included) and the hash of its own
    content, so that one cut short by a full disk or a crash is built again and never loaded.

    Args:
        purpose: what it is, for messages.
        options: for the compiler; `-march=native` is left out where the compiler does not take it.
        sources: contents by file name, written to a folder of their own; the `.c` ones are compiled.
        cache: the folder's name below tritguard's in the user's cache.

    Raises:
        ToolMissingError: no C compiler.
        BuildError: the sources do not compile, or the cache cannot be written.
    """
    compiler = host_compiler()
    if compiler is None:
        raise ToolMissingError(f"no C compiler for {purpose}", fix="install gcc or clang, or set CC")
    command = [*compiler, *_known(compiler, options), "-fPIC", "-shared"]
    identity = hashlib.sha256(repr((command, _target(command))).encode())
    for name, content in sorted(sources.items()):
        identity.update(repr((name, len(content))).encode() + content)
    folder = Path(platformdirs.user_cache_dir("tritguard")) / cache
    key = identity.hexdigest()[:_DIGITS]
    for library in folder.glob(f"{key}-*.so"):
        if library.name == _name(key, library):
            return library
        library.unlink(missing_ok=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            built = _compile(purpose, command, sources, Path(scratch))
            library = folder / _name(key, built)
            built.replace(library)
    except OSError as error:
        raise BuildError(f"{purpose} cannot be stored ({error.strerror})", where=str(folder)) from error
    return library


def _name(key: str, library: Path) -> str:
    return f"{key}-{hashlib.sha256(library.read_bytes()).hexdigest()[:_DIGITS]}.so"


def _compile(purpose: str, command: list[str], sources: dict[str, bytes], folder: Path) -> Path:
    for name, content in sources.items():
        (folder / name).write_bytes(content)
    built = folder / "built.so"
    units = [str(folder / name) for name in sorted(sources) if name.endswith(".c")]
    done = subprocess.run(
        [*command, f"-I{folder}", *units, "-o", str(built)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[:200])
        raise BuildError(f"{purpose} does not compile ({first.strip()})", fix="set CC to another compiler")
    return built


def _known(compiler: list[str], options: tuple[str, ...]) -> list[str]:
    """Without `-march=native` for compilers that do not know it for their processor."""
    probe = [*compiler, "-march=native", "-E", "-x", "c", os.devnull]
    native = subprocess.run(probe, capture_output=True, check=False).returncode == 0
    return [option for option in options if native or option != "-march=native"]


def _target(command: list[str]) -> str:
    """The compiler's version and the processor it tunes for: a cache shared between machines must tell them apart."""
    probe = [*command, "-E", "-v", "-x", "c", os.devnull]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    return "\n".join(line for line in done.stderr.splitlines() if "version" in line or "march" in line)
