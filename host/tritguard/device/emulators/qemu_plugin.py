"""Builds the counting plugin for QEMU with this machine's compiler."""

from __future__ import annotations

import re
from pathlib import Path

from tritguard.errors import ToolMissingError
from tritguard.host_compiler import build_library
from tritguard.resources import qemu_plugin_dir

_SOURCE = "count.c"


def plugin_library(qemu: str | None) -> Path:
    """Return the path of the compiled plugin, building it if it is not in the cache.

    Args:
        qemu: the version line of the QEMU that will load it, None if there is none.

    Raises:
        ToolMissingError: there is no C compiler or no QEMU.
        BuildError: the plugin does not compile on this machine.
    """
    options = ("-std=gnu11", "-O2", "-fvisibility=hidden", f"-DQEMU_PLUGIN_VERSION={_interface_version(qemu)}")
    sources = {_SOURCE: (qemu_plugin_dir() / _SOURCE).read_bytes()}
    return build_library("the emulator's plugin", options, sources, cache="qemu-plugin")


def _interface_version(qemu: str | None) -> int:
    """Return an interface version that QEMU accepts: up to QEMU 8.2 there is only 1, and 9.0 requires at least 2."""
    if qemu is None:
        raise ToolMissingError("QEMU is not installed", fix="on Debian or Ubuntu: apt install qemu-system-arm")
    match = re.search(r"version (\d+)", qemu)
    return 2 if match and int(match[1]) >= 9 else 1
