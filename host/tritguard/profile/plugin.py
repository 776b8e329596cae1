"""QEMU's counting plugin, built on this machine with its own compiler."""

from __future__ import annotations

import re
from pathlib import Path

from tritguard.device import emulator_version
from tritguard.errors import ToolMissingError
from tritguard.host_compiler import build_library
from tritguard.resources import qemu_plugin_dir

_SOURCE = "count.c"


def plugin_library() -> Path:
    """The compiled plugin, cached.

    Raises:
        ToolMissingError: no C compiler, or no QEMU.
        BuildError: the plugin does not compile here.
    """
    options = ("-std=gnu11", "-O2", "-fvisibility=hidden", f"-DQEMU_PLUGIN_VERSION={_interface_version()}")
    sources = {_SOURCE: (qemu_plugin_dir() / _SOURCE).read_bytes()}
    return build_library("the emulator's plugin", options, sources, cache="qemu-plugin")


def _interface_version() -> int:
    """What QEMU accepts: version 1 was the only one up to 8.2, 9.0 raised the least to 2."""
    version = emulator_version()
    if version is None:
        raise ToolMissingError("QEMU is not installed", fix="on Debian or Ubuntu: apt install qemu-system-arm")
    match = re.search(r"version (\d+)", version)
    return 2 if match and int(match[1]) >= 9 else 1
