"""Compiled kernels and the rest of a firmware, kept so that the next one does not wait for the compiler again.

SCons keeps them (`firmware/platform/builder/main.py`) under a hash of source, included headers and command. That hash
leaves out the header that the command line includes, those that a macro names, and the parts of the compiler. The
folder stands for these: its name is a hash of all of tritguard's firmware and of the compiler's version.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import platformdirs

from tritguard.resources import firmware_dir

_FOLDER = "kernel-objects"
_DIGITS = 32
# The sources around the kernels that are kept too: all that do not hold the build's id or the model.
_AROUND = ("commands", "cortexm", "driver", "fault", "main", "profile", "protocol", "serial")
# How many objects of a folder are kept, those that were used last: some are of one model and board alone.
_OBJECTS = 2000
# How many folders are kept, those that were used last: each is of one version of tritguard and one compiler.
_FOLDERS = 4


def kernel_objects(model_files: Mapping[str, bytes], compiler: str) -> dict[str, str]:
    """Environment variables by which a build takes objects from the cache and puts new ones there.

    Args:
        model_files: the contents of the project's src/model, by name. Nothing is kept if a kernel or a header of theirs
            is not this version's, as in a bundle that was opened with trust, or if there is a file that could stand in
            for a header of the compiler's.
        compiler: the compiler's name.

    Returns:
        The variables, none if there is no kernel, the compiler is not on PATH, or the cache cannot be written.
    """
    ours = {file.name: file for file in (firmware_dir() / "kernels").iterdir()}
    shared = model_files.keys() & ours.keys()
    kernels = sorted(Path(name).stem for name in shared if name.endswith(".c"))
    # The compiler looks for headers here first, for <newlib.h> too, and for precompiled ones of any name.
    strangers = [name for name in model_files if not name.endswith(".c") and name not in shared | {"tg_model.h"}]
    changed = any(model_files[name] != ours[name].read_bytes() for name in shared)
    if not kernels or strangers or changed or shutil.which(compiler) is None:
        return {}
    root = Path(platformdirs.user_cache_dir("tritguard")) / _FOLDER
    folder = root / _identity(compiler)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
    except OSError:
        return {}
    _trim(root.iterdir(), _FOLDERS)
    _trim(folder.glob("[0-9A-F][0-9A-F]/*"), _OBJECTS)
    return {"TRITGUARD_KEPT_OBJECTS": str(folder), "TRITGUARD_KEPT": " ".join([*kernels, *_AROUND])}


def _identity(compiler: str) -> str:
    version = subprocess.run([compiler, "-v"], capture_output=True, check=False)
    digest = hashlib.sha256(repr((shutil.which(compiler), version.stderr)).encode())
    for file in sorted(path for path in firmware_dir().rglob("*") if path.is_file()):
        digest.update(repr((file.relative_to(firmware_dir()).as_posix(), file.stat().st_size)).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:_DIGITS]


def _trim(found: Iterable[Path], most: int) -> None:
    """Remove all but the `most` that were used last."""
    used = {}
    for path in found:
        with suppress(OSError):  # another process removed it
            used[path] = path.stat().st_mtime_ns
    for path in sorted(used, key=used.__getitem__, reverse=True)[most:]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
