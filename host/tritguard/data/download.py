"""Downloads data sets from their official servers: resumes broken transfers, checks files, keeps them in a cache."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import platformdirs

from tritguard.errors import BadInputError
from tritguard.progress import Progress

_TIMEOUT_S = 30
_CHUNK = 1 << 18
_ATTEMPTS = 5  # attempts in a row that bring no new byte, before giving up
_PAUSE_S = 1.0  # before the second attempt; it doubles before each further one
DAMAGED_FIX = "delete the file and start again"


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes:
        url: its address.
        bytes: its length; what a server sends beyond it is not read.
        sha256: SHA-256 of its content, in hexadecimal.
        advice: what the user can do if it cannot be downloaded.
    """

    url: str
    bytes: int
    sha256: str
    advice: str

    @property
    def name(self) -> str:
        """The file's name: the last part of its address."""
        return self.url.rpartition("/")[2]


def cache_folder(name: str) -> Path:
    """The folder in the user's cache for the files of a data set."""
    return Path(platformdirs.user_cache_dir("tritguard")) / name


def fetch(
    files: list[RemoteFile], folder: Path, progress: Progress | None = None, *, pause_s: float = _PAUSE_S
) -> None:
    """Download the files that are missing in a folder.

    A file gets its name only once it is complete and its checksum is right. What a broken transfer leaves behind is
    kept as `NAME.part`, and the next call continues from there if the server allows it.

    Args:
        files: the files the folder has to hold.
        folder: where they are kept.
        progress: called with (bytes done, total bytes) of the missing files.
        pause_s: seconds before the first retry.

    Raises:
        BadInputError: the server does not answer, or the content is not the published one.
    """
    missing = [file for file in files if not (folder / file.name).is_file()]
    total = sum(file.bytes for file in missing)
    done = 0
    for file in missing:
        before = done

        def within(count: int, before: int = before) -> None:
            if progress:
                progress(before + count, total)

        _fetch(file, folder / file.name, within, pause_s)
        done += file.bytes


def check_file(path: Path, file: RemoteFile, *, fix: str) -> None:
    """Check that a file on disk is the published one.

    Raises:
        BadInputError: it is not the published one, or cannot be read.
    """
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise BadInputError(f"cannot be read ({error.strerror})", where=str(path)) from error
    if found != file.sha256:
        what = f"checksum failure: SHA-256 {found[:12]}..., published {file.sha256[:12]}..."
        raise BadInputError(what, where=str(path), fix=fix)


def _fetch(file: RemoteFile, path: Path, progress: Callable[[int], None], pause_s: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    failures = 0
    while (before := _length(part)) < file.bytes:
        try:
            _continue(file, part, before, progress)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and not isinstance(error, urllib.error.URLError) and error.filename:
                raise  # an error of the disk, not of the network
            if isinstance(error, urllib.error.HTTPError) and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                part.unlink()  # the part we have does not belong to the server's file
            failures = failures + 1 if _length(part) <= before else 1
            if failures == _ATTEMPTS or _is_final(error):
                raise _not_had(file, error, _length(part)) from error
            time.sleep(pause_s * 2 ** (failures - 1))
    try:
        check_file(part, file, fix=f"start again; {file.advice}")
    except BadInputError as error:
        part.unlink()
        error.where = file.url
        raise
    part.replace(path)


def _continue(file: RemoteFile, part: Path, start: int, progress: Callable[[int], None]) -> None:
    """Download the rest of a file from byte `start` on, or the whole file if that is what the server sends.

    Raises:
        OSError: the network or the disk fails, or the answer ends too early.
    """
    request = urllib.request.Request(file.url, headers={"Range": f"bytes={start}-"} if start else {})
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        resumed = answer.status == HTTPStatus.PARTIAL_CONTENT
        if resumed and not (answer.headers.get("Content-Range") or "").startswith(f"bytes {start}-"):
            raise ConnectionError("the server sent another range than the one requested")
        done = start if resumed else 0
        with part.open("ab" if resumed else "wb") as stream:
            while done < file.bytes and (chunk := answer.read(min(_CHUNK, file.bytes - done))):
                stream.write(chunk)
                done += len(chunk)
                progress(done)
    if done < file.bytes:
        raise ConnectionError(f"the transfer ended after {done:,} of {file.bytes:,} bytes")


def _is_final(error: Exception) -> bool:
    """Whether a retry is useless, because the server answered with an error that is neither its own nor in time."""
    passing = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
    return (
        isinstance(error, urllib.error.HTTPError)
        and error.code < HTTPStatus.INTERNAL_SERVER_ERROR
        and error.code not in passing
    )


def _not_had(file: RemoteFile, error: Exception, kept: int) -> BadInputError:
    again = f"start again, and the transfer continues after {kept:,} of {file.bytes:,} bytes; or " if kept else ""
    return BadInputError(f"cannot be downloaded ({error})", where=file.url, fix=f"{again}{file.advice}")


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
