"""The manifest of an evidence folder, the list of checksums beside it, and how both are held against the files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from tritguard.errors import BadInputError
from tritguard.records import Record, from_json

MANIFEST = "evidence.json"
CHECKSUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"

_CHUNK = 1 << 20
_FIX = "ask whoever filed the folder for it again"


def _plain_path(name: str) -> str:
    """Refuse what leads out of the folder, or what would be two lines in a list of checksums."""
    path = PurePosixPath(name)
    if not name.isprintable() or "\\" in name or path.is_absolute() or ".." in path.parts or str(path) != name:
        raise ValueError(f"{name!r} is no path inside the folder")
    return name


FileName = Annotated[str, AfterValidator(_plain_path)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Part(Record):
    """One of the things that the evidence is about, or that it was made with.

    Attributes:
        role: what it is.
        name: what it is called; for a program, its version.
        sha256: its hash; None where it cannot be had on this machine.
        file: the file of the folder that has this hash; None if the folder does not hold it.
    """

    role: Literal["golden model", "bundle", "firmware image", "firmware ELF", "data", "tool", "compiler"]
    name: str
    sha256: Sha256 | None
    file: FileName | None = None


class LeftOut(Record):
    """What the folder does not hold, and why."""

    what: str
    why: str


class EvidenceManifest(Record):
    """What an evidence folder holds: `evidence.json`.

    Attributes:
        created: when it was written, ISO 8601 in UTC.
        tritguard: the version that wrote it.
        title: the model and the board.
        parts: what the results are about, with the hash of each.
        results: the files of the results, that of the run's leading study first.
        left_out: what was not put into the folder.
        files: the SHA-256 of every file but this one, the list of checksums and its signature.
    """

    schema_version: Literal[1] = 1
    kind: Literal["evidence"] = "evidence"
    created: str
    tritguard: str
    title: str
    parts: tuple[Part, ...]
    results: tuple[FileName, ...] = Field(min_length=1)
    left_out: tuple[LeftOut, ...]
    files: dict[FileName, Sha256]

    @model_validator(mode="after")
    def _has_each_role_once(self) -> Self:
        roles = [part.role for part in self.parts]
        if twice := next((role for role in roles if roles.count(role) > 1), None):
            raise ValueError(f"there are two parts with the role {twice!r}")
        return self

    def part(self, role: str) -> Part | None:
        """The part with this role, if there is one."""
        return next((part for part in self.parts if part.role == role), None)


@dataclass(frozen=True)
class Change:
    """Something that is not as the evidence says.

    Attributes:
        where: the file it was found in.
        what: what was found.
    """

    where: str
    what: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.where}: {self.what}"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file of any size, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def hashes_of(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file in a folder, by its path in it, sorted."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in paths}


def checksums(files: Mapping[str, str], manifest: str) -> str:
    """Write the list that `sha256sum --check` takes: every file, and the manifest with its own hash."""
    listed = {**files, MANIFEST: manifest}
    return "".join(f"{listed[name]}  {name}\n" for name in sorted(listed))


def open_evidence(folder: Path) -> EvidenceManifest:
    """Read the manifest of an evidence folder; what its files hold is not looked at.

    Raises:
        BadInputError: the folder has no manifest, or one that is not whole.
    """
    path = folder / MANIFEST
    if not path.is_file():
        what, fix = f"no {MANIFEST} here", "give a folder written by 'tritguard evidence'"
        raise BadInputError(what, where=str(folder), fix=fix)
    return from_json(EvidenceManifest, path, fix=_FIX)


def file_changes(folder: Path, manifest: EvidenceManifest) -> Iterator[Change]:
    """Name every file that is missing, was changed, or does not belong in the folder."""
    for name, digest in manifest.files.items():
        if (state := _state(folder, name, digest)) is not None:
            yield Change(name, state)
    if (folder / MANIFEST).is_symlink():
        yield Change(MANIFEST, "is a link, not a file")
    expected = checksums(manifest.files, sha256_of(folder / MANIFEST))
    listed = folder / CHECKSUMS
    if listed.is_symlink():
        yield Change(CHECKSUMS, "is a link, not a file")
    elif not listed.is_file():
        yield Change(CHECKSUMS, "is missing")
    elif (found := listed.read_bytes()) != expected.encode():
        yield _disagreement(found, expected)
    known = {*manifest.files, MANIFEST, CHECKSUMS, SIGNATURE}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name not in known and (path.is_symlink() or not path.is_dir()):
            yield Change(name, "does not belong here")


def _state(folder: Path, name: str, digest: str) -> str | None:
    path = folder / name
    if any(place.is_symlink() for place in (path, *path.parents) if place.is_relative_to(folder) and place != folder):
        return "is a link, not a file"
    if not path.is_file():
        return "is missing"
    return None if sha256_of(path) == digest else "was changed"


def _disagreement(found: bytes, expected: str) -> Change:
    """Tell whether the list or the manifest was changed: the hash of the manifest is only in the list."""
    theirs, ours = set(found.decode(errors="replace").splitlines()), set(expected.splitlines())
    others = [line for line in ours - theirs if not line.endswith(f"  {MANIFEST}")]
    if not others and len(theirs) == len(ours) and found.count(b"\n") == expected.count("\n"):
        what = f"was changed, or its hash in {CHECKSUMS} was"
        return Change(MANIFEST, what)
    return Change(CHECKSUMS, f"was changed, or {MANIFEST} was: they list other hashes")
