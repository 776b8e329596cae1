"""Locks between processes, each on a file in the user's cache; the system lets go of them when their holder ends."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Self

import platformdirs

try:
    import fcntl
except ImportError:  # Windows, where the system opens a serial port only once
    fcntl = None  # type: ignore[assignment]


class HeldError(Exception):
    """A lock of this name is already held; the argument is the id of the process that holds it, 0 if unknown."""


class Lock:
    """A lock on a name, held from the moment it is made until `release`; where the system has none, nothing is held.

    Args:
        kind: what is locked, a folder in the cache.
        name: the one that is locked, any text.

    Raises:
        HeldError: it is held already, by this process or another one.
    """

    def __init__(self, kind: str, name: str) -> None:
        path = _place(kind, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if fcntl is not None:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(self._file, 20).decode(errors="replace").strip()
            os.close(self._file)
            raise HeldError(int(holder) if holder.isdigit() else 0) from error
        os.ftruncate(self._file, 0)
        os.write(self._file, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let go of the lock."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_held(kind: str, name: str) -> bool:
    """Whether a lock is held, by this process or another one."""
    return holder(kind, name) is not None


def holder(kind: str, name: str) -> int | None:
    """The id of the process that holds a lock, 0 if that cannot be told; None if nobody does."""
    path = _place(kind, name)
    if fcntl is None or not path.exists():
        return None
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: those who only ask are not in each other's way
        except BlockingIOError:
            said = file.read(20).decode(errors="replace").strip()
            return int(said) if said.isdigit() else 0
    return None


def _place(kind: str, name: str) -> Path:
    digest = hashlib.sha256(name.encode()).hexdigest()[:32]
    return Path(platformdirs.user_cache_dir("tritguard")) / "locks" / kind / digest
