"""What a reading process may not do, and how it says what went wrong. Runs in reading processes alone."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from tritguard.errors import BadInputError, BadModelError, ToolMissingError, TritguardError
from tritguard.foreign.description import FAILURE, Failure

# Nothing that reads a model needs these; whatever gets as far as to try ends the process.
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
_CPU_SECONDS = 300
_DATA_BYTES = 8 << 30


def limit() -> None:
    """Bound the process' time, memory, and files."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on Windows; or lower limits are set already
        import resource  # noqa: PLC0415 - POSIX only

        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (_DATA_BYTES, _DATA_BYTES))


def forbid(folder: Path) -> None:
    """End the process from now on where it tries what is forbidden. Imports may do so: they come before.

    Args:
        folder: where it may remove folders of its own.
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


@contextlib.contextmanager
def failures_in(folder: Path) -> Iterator[None]:
    """Leave a failure of the block in a folder, for the process that started this one."""
    try:
        yield
    except TritguardError as error:
        failure = Failure(kind=_kind(error), what=error.what, where=error.where, fix=error.fix)
        (folder / FAILURE).write_text(failure.model_dump_json())
    except Exception as error:  # a broken file meets h5py, zipfile or protobuf with errors of many kinds
        reason = str(error).strip().partition("\n")[0][:200]
        failure = Failure(kind="model", what=f"cannot be read ({type(error).__name__}: {reason})")
        (folder / FAILURE).write_text(failure.model_dump_json())


def bounded(path: Path) -> bytes:
    """A file's content.

    Raises:
        BadModelError: more than a gigabyte.
    """
    if path.stat().st_size > MAX_FILE_BYTES:
        raise BadModelError(f"{path.name} is larger than a gigabyte")
    return path.read_bytes()


def _kind(error: TritguardError) -> Literal["model", "input", "missing"]:
    if isinstance(error, ToolMissingError):
        return "missing"
    return "input" if type(error) is BadInputError else "model"
