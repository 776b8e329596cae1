"""Reading files, and writing them so that each is either complete or absent."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tritguard.errors import BadInputError


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
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
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
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        try:
            opened(out)
        except BadInputError as error:
            fix = "give another folder or remove it"
            raise BadInputError(f"exists and is no {kind} ({error.what})", where=str(out), fix=fix) from error
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        draft = Path(scratch) / "draft"
        draft.mkdir()
        yield draft
        if out.exists():
            out.rename(Path(scratch) / "old")
        draft.rename(out)
