"""Compiled kernels, kept so that the next firmware with the same ones does not wait for the compiler again.

SCons keeps them (`firmware/platform/builder/main.py`) under a hash of source, included headers and command. That hash
leaves out the header that the command line includes, those that a macro names, and the parts of the compiler. The
folder stands for these: its name is a hash of all of tritguard's firmware and of the compiler's version.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import platformdirs

from tritguard.resources import firmware_dir

_FOLDER = "kernel-objects"
_DIGITS = 32
# How many folders are kept, those that were used last: each is of one version of tritguard and one compiler.
_FOLDERS = 4


def kernel_objects(model_files: Mapping[str, bytes], compiler: str) -> dict[str, str]:
    """Environment variables by which a build takes kernels' objects from the cache and puts new ones there.

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
    _trim(root)
    return {"TRITGUARD_KERNEL_OBJECTS": str(folder), "TRITGUARD_KERNELS": " ".join(kernels)}


def _identity(compiler: str) -> str:
    version = subprocess.run([compiler, "-v"], capture_output=True, check=False)
    digest = hashlib.sha256(repr((shutil.which(compiler), version.stderr)).encode())
    for file in sorted(path for path in firmware_dir().rglob("*") if path.is_file()):
        digest.update(repr((file.relative_to(firmware_dir()).as_posix(), file.stat().st_size)).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:_DIGITS]


def _trim(root: Path) -> None:
    """Remove all but the folders that were used last."""
    used = {}
    for folder in root.iterdir():
        with suppress(OSError):  # another process removed it
            used[folder] = folder.stat().st_mtime_ns
    for folder in sorted(used, key=used.__getitem__, reverse=True)[_FOLDERS:]:
        shutil.rmtree(folder, ignore_errors=True)
