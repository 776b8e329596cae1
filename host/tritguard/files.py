"""Reading files, and writing them so that each is either complete or absent."""

from __future__ import annotations

import errno
import functools
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

from tritguard.errors import BadInputError

# Part of the names of scratch. A process keeps its scratch locked, so a lock that is free shows that it was killed.
_SCRATCH = "tritguard-scratch-"
_SCRATCH_NAME = re.compile(rf"{_SCRATCH}[a-z0-9_]{{8}}$")
_FRESH_SECONDS = 60.0  # younger scratch may be about to be locked
_FULL_BYTES = 1 << 20
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def read_bytes(path: Path, *, fix: str | None = None) -> bytes:
    """The content of a file that the user named.

    Raises:
        BadInputError: it cannot be read; `fix` is what the user can do about it.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot be read ({error.strerror})", where=str(path), fix=fix) from error


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file atomically: at any moment, even after a kill, it holds either the old content or all of the new."""
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep_once(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.{_SCRATCH}")
    temporary = Path(name)
    try:
        with _named(path), os.fdopen(handle, "wb") as file:
            _hold(file.fileno())
            file.write(data)
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(out: Path, opened: Callable[[Path], object], kind: str) -> Iterator[Path]:
    """Yield an empty draft folder, and put it in the place of `out` if the block ends without an error.

    Args:
        out: the folder to write. One that is not empty is replaced only if `opened` accepts it.
        opened: opens a folder of this kind, and raises BadInputError for any other folder or one that also holds
            files of the user's.
        kind: what messages call this kind of folder.

    Raises:
        BadInputError: `out` exists and holds something else.
    """
    out = out.resolve()
    check_writable(out, opened, kind)
    with _named(out), scratch_folder(out.parent, f".{out.name}.") as scratch:
        draft = scratch / "draft"
        draft.mkdir()
        yield draft
        if out.exists():
            out.rename(scratch / "old")
        draft.rename(out)


def check_writable(out: Path, opened: Callable[[Path], object], kind: str) -> None:
    """Find out whether `whole_folder` could write a folder, before the work whose outcome is to go there.

    Raises:
        BadInputError: see `whole_folder`.
        OSError: its parent cannot be written.
    """
    out = out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        try:
            opened(out)
        except BadInputError as error:
            fix = "give another folder or remove it"
            file = Path(error.where or out)
            what = f"{file.name}: {error.what}" if file.parent == out else error.what
            raise BadInputError(f"exists and is no {kind} ({what})", where=str(out), fix=fix) from error
    out.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(out.parent, f".{out.name}."):
        pass


@contextmanager
def scratch_folder(place: Path | None = None, prefix: str = "") -> Iterator[Path]:
    """Yield an empty folder that is removed at the block's end, or if the process is killed, at a later one's start.

    Args:
        place: the folder in which it is made; by default that of temporary files.
        prefix: what its name starts with.
    """
    place = Path(tempfile.gettempdir() if place is None else place).resolve()
    _sweep_once(place)
    with tempfile.TemporaryDirectory(dir=place, prefix=f"{prefix}{_SCRATCH}") as name:
        lock = os.open(name, os.O_RDONLY) if sys.platform != "win32" else None
        try:
            if lock is not None:
                _hold(lock)
            yield Path(name)
        finally:
            if lock is not None:
                os.close(lock)


def sweep(place: Path) -> None:
    """Remove the scratch that killed processes of this user left in a folder."""
    if sys.platform == "win32":  # which does not let a process open a folder, and keeps no locks of this kind
        return
    for entry in place.iterdir():
        if not _SCRATCH_NAME.search(entry.name):
            continue
        with suppress(OSError):  # removed meanwhile, or locked by a process that lives
            facts = entry.lstat()
            old = time.time() - facts.st_mtime > _FRESH_SECONDS
            if not old or facts.st_uid != os.getuid() or entry.is_symlink():
                continue
            handle = os.open(entry, os.O_RDONLY)
            try:
                _lock(handle)
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            finally:
                os.close(handle)


@functools.cache
def _sweep_once(place: Path) -> None:
    with suppress(OSError):  # a folder that cannot be listed
        sweep(place)


def _hold(handle: int) -> None:
    with suppress(OSError):  # a file system without locks, on which `sweep` can lock nothing either and removes nothing
        _lock(handle)


def _lock(handle: int) -> None:
    """Lock an open file or folder until it is closed; a lock that another process holds is an OSError."""
    if sys.platform != "win32":
        import fcntl  # noqa: PLC0415 - POSIX only

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name a path in an error about a full disk, because writing to an open file does not."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE and error.filename is None:
            error.filename = str(path)
        raise


def full_place(error: OSError) -> str | None:
    """The folder that is full, if an error is about a full disk and it can be told."""
    if error.errno not in _NO_SPACE:
        return None
    places = [Path.cwd(), Path(tempfile.gettempdir()), Path(platformdirs.user_cache_dir("tritguard"))]
    if error.filename:
        places.insert(0, Path(error.filename))
    for place in places:
        there = next((folder for folder in (place, *place.parents) if folder.is_dir()), place)
        with suppress(OSError):
            if shutil.disk_usage(there).free < _FULL_BYTES:
                return str(there)
    return None
