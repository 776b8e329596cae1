"""Typed records and the files they come from: what is wrong with one is said in one line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tritguard.errors import BadInputError


class Record(BaseModel):
    """A frozen record; fields it does not know are an error."""

    # JSON has no NaN or infinity: such a number must fail where it arises, not when the file is read back.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


R = TypeVar("R", bound=BaseModel)


def from_table(kind: type[R], table: object, *, where: str, fix: str | None = None) -> R:
    """A record of a table of settings.

    Args:
        kind: the record's class.
        table: a mapping, as a TOML file gives it.
        where: what the message names: a file, or a file's table.
        fix: what the user can do.

    Raises:
        BadInputError: the first field that is unknown, missing or out of range.
    """
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        raise _bad_field(error, where, fix) from error


def from_json(kind: type[R], path: Path, *, fix: str | None = None) -> R:
    """A record of a JSON file; see `from_table`.

    Raises:
        BadInputError: unreadable, no JSON, or a field that does not fit.
    """
    try:
        return kind.model_validate_json(_read(path))
    except ValidationError as error:
        raise _bad_field(error, str(path), fix) from error


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file's tables.

    Raises:
        BadInputError: unreadable, or no TOML.
    """
    try:
        return tomllib.loads(_read(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"not TOML ({error})", where=str(path)) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot be read ({error.strerror})", where=str(path)) from error


def _bad_field(error: ValidationError, where: str, fix: str | None) -> BadInputError:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ")  # pydantic's prefix of what a validator says
    return BadInputError(f"{field}: {what}" if field else what, where=where, fix=fix)
