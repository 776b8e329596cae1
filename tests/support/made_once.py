"""What is made once for the whole run, by whichever of its processes asks first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def made_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """The folder, after `make(folder)` has made it; other processes that ask for it wait until then.

    `make` has to leave the folder whole or not at all, as `write_bundle`, `build` and `train` do. What it holds is
    shared: a test that changes files changes a copy.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            make(folder)
    return folder
