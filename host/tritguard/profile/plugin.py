"""QEMU's counting plugin, built on this machine with its own compiler."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import platformdirs

from tritguard.device import emulator_version
from tritguard.errors import BuildError, ToolMissingError
from tritguard.resources import qemu_plugin_dir

_SOURCE = "count.c"
_FLAGS = ("-std=gnu11", "-O2", "-shared", "-fPIC", "-fvisibility=hidden")


def plugin_library() -> Path:
    """The compiled plugin, cached by its source, QEMU's interface and the compiler's name.

    Raises:
        ToolMissingError: no C compiler, or no QEMU.
        BuildError: the plugin does not compile here.
    """
    compiler = os.environ.get("CC") or next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    if compiler is None or shutil.which(compiler) is None:
        raise ToolMissingError("no C compiler for the emulator's plugin", fix="install gcc or clang, or set CC")
    source = qemu_plugin_dir() / _SOURCE
    command = [compiler, *_FLAGS, f"-DQEMU_PLUGIN_VERSION={_interface_version()}", str(source)]
    identity = hashlib.sha256(source.read_bytes() + repr(command).encode())
    cache = Path(platformdirs.user_cache_dir("tritguard")) / "qemu-plugin"
    library = cache / f"{identity.hexdigest()[:32]}.so"
    if not library.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            built = Path(scratch) / "count.so"
            done = subprocess.run([*command, "-o", str(built)], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[:200])
                raise BuildError(f"the emulator's plugin does not compile ({first})", where=str(source))
            built.replace(library)
    return library


def _interface_version() -> int:
    """What QEMU accepts: version 1 was the only one up to 8.2, 9.0 raised the least to 2."""
    version = emulator_version()
    if version is None:
        raise ToolMissingError("QEMU is not installed", fix="on Debian or Ubuntu: apt install qemu-system-arm")
    match = re.search(r"version (\d+)", version)
    return 2 if match and int(match[1]) >= 9 else 1
