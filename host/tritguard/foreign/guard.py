"""Restricts what a reading process may do, and passes its errors on. Runs in reading processes only."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NoReturn

from tritguard.errors import BadInputError, BadModelError, ToolMissingError, TritguardError, first_line
from tritguard.foreign.description import FAILURE, Failure
from tritguard.printable import printable

# Reading a model needs none of these. The process ends as soon as anything tries one of them.
FORBIDDEN = {
    "ctypes.call_function",
    "ftplib.connect",
    "http.client.connect",
    "marshal.load",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "pickle.find_class",
    "shutil.rmtree",
    "socket.bind",
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
    "urllib.Request",
}
MAX_FILE_BYTES = 1 << 30


def forbid(folder: Path) -> None:
    """From now on, end the process if it tries anything that is forbidden.

    Some imports do forbidden things, so all imports have to come before this call.

    Args:
        folder: the folder in which the process may remove subfolders.
    """
    own = str(folder.resolve())

    def refuse(event: str, arguments: tuple[object, ...]) -> None:
        if event not in FORBIDDEN:
            return
        if event == "shutil.rmtree" and Path(str(arguments[0])).resolve().is_relative_to(own):
            return
        os.write(2, f"refused: {event}\n".encode())
        os._exit(70)

    sys.addaudithook(refuse)


def leave() -> NoReturn:
    """End the process at once, successfully.

    Its imports made a million objects. Taking them apart one by one would be a quarter of its processor time, and all
    its results are in its files.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


@contextlib.contextmanager
def failures_in(folder: Path) -> Iterator[None]:
    """If the block raises, write a `Failure` to the folder, where the process that started this one finds it."""
    try:
        yield
    except TritguardError as error:
        _leave(folder, Failure(kind=_kind(error), what=error.what, where=error.where, fix=error.fix))
    except Exception as error:  # h5py, zipfile and protobuf raise many kinds of errors on a broken file
        what = f"cannot be read ({type(error).__name__}: {first_line(error)})"
        _leave(folder, Failure(kind="model", what=what))


def _leave(folder: Path, failure: Failure) -> None:
    """Write a failure; it may hold words of the file, which need not be text that UTF-8 can hold."""
    clean = {name: printable(value) for name, value in failure.model_dump().items() if value is not None}
    (folder / FAILURE).write_text(Failure.model_validate(clean).model_dump_json())


def bounded(path: Path) -> bytes:
    """The content of a file of at most a gigabyte.

    Raises:
        BadModelError: the file is larger.
    """
    if path.stat().st_size > MAX_FILE_BYTES:
        raise BadModelError(f"{path.name} is larger than a gigabyte")
    return path.read_bytes()


def _kind(error: TritguardError) -> Literal["model", "input", "missing"]:
    if isinstance(error, ToolMissingError):
        return "missing"
    return "input" if type(error) is BadInputError else "model"
