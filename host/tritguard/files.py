"""Files that are either whole or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tritguard.errors import BadInputError


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader, or a kill at any moment, meets the old content or all of the new."""
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
    """An empty draft folder that takes the place of `out` when the block ends well.

    Args:
        out: what to write; where it is not empty, only what `opened` takes is replaced.
        opened: opens a folder of this kind, with nothing of the user's in it; BadInputError for any other.
        kind: what messages call it.

    Raises:
        BadInputError: `out` holds something else.
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
