"""Gives PlatformIO its `tool-scons` package, made from the SCons that pip installed."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

_NAME = "tool-scons"
# Python collects no garbage, as in `run_python` without `collect`: SCons needs what it makes until it ends.
_LAUNCHER = """\
import atexit
import gc

gc.disable()
atexit.register(gc.freeze)

from SCons.Script.Main import main

main()
"""


def provide_scons(packages: Path) -> None:
    """Put the package into PlatformIO's folder of packages, unless it holds one.

    Without it PlatformIO downloads one from its registry, as it still does if it wants another version than pip's.
    """
    package = packages / _NAME
    try:
        major, minor, patch = [*importlib.metadata.version("scons").split("."), "0", "0"][:3]
    except importlib.metadata.PackageNotFoundError:
        return
    if package.exists():
        return
    version = f"{major}.{major}{int(minor):02}{int(patch):02}.0"  # the registry writes 4.11.1 as 4.41101.0
    package.mkdir(parents=True)
    description = {"name": _NAME, "version": version, "description": "launcher of pip's SCons", "system": "*"}
    spec = {"owner": "platformio", "id": None, "name": _NAME, "requirements": None, "uri": None}
    record = {"type": "tool", "name": _NAME, "version": version, "spec": spec}
    (package / "package.json").write_text(json.dumps(description))
    (package / "scons.py").write_text(_LAUNCHER)
    (package / ".piopm").write_text(json.dumps(record))
