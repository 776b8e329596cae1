"""A keyed hash on what is kept between runs, so that only what this user's tritguard wrote is used again."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import platformdirs

from tritguard.errors import TritguardError

SIZE = 32  # bytes of the key and of a seal


def sealer() -> Callable[[Iterable[bytes]], bytes]:
    """Read the user's key once, for many seals; returns `seal` with that key.

    Raises:
        TritguardError: the key can neither be read nor made.
    """
    key = _key()

    def sealed(parts: Iterable[bytes]) -> bytes:
        digest = hmac.new(key, digestmod=hashlib.sha256)
        for part in parts:
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
        return digest.digest()

    return sealed


def seal(parts: Iterable[bytes]) -> bytes:
    """Compute HMAC-SHA256 over the parts, each with its length, under the user's key.

    Raises:
        TritguardError: the key can neither be read nor made.
    """
    return sealer()(parts)


def holds(stated: object, parts: Iterable[bytes]) -> bool:
    """Say whether `stated`, which may be anything, is the seal of the parts.

    Raises:
        TritguardError: the key can neither be read nor made.
    """
    return isinstance(stated, bytes) and hmac.compare_digest(stated, seal(parts))


def _key() -> bytes:
    """Read the key, 32 random bytes in a file that only the user may read; the first call makes it."""
    path = Path(platformdirs.user_cache_dir("tritguard")) / "kept.key"
    try:
        if not path.exists():
            _make(path)
        key = path.read_bytes()
    except OSError as error:
        fix = "make the folder writable, or name another one in XDG_CACHE_HOME"
        raise TritguardError(f"cannot be made or read ({error.strerror})", where=str(path), fix=fix) from error
    if len(key) != SIZE:
        raise TritguardError(f"has {len(key)} bytes instead of {SIZE}", where=str(path), fix="remove it")
    return key


def _make(path: Path) -> None:
    """Write a key, unless another process is faster; the file appears whole, with mode 0600."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes files of mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(SIZE))
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()
