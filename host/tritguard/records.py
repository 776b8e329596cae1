"""Typed records, read from TOML and JSON files. An invalid file gives an error message of one line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tritguard.errors import BadInputError
from tritguard.files import read_bytes

# No settings come near these. The parser's memory grows with the square of the parts of a dotted key.
_MAX_TOML_BYTES = 1 << 20
_MAX_DOTS = 2000


class Record(BaseModel):
    """A frozen record. An unknown field is an error."""

    # JSON has no NaN and no infinity. Such a number has to fail where it arises, not when the file is read back.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


R = TypeVar("R", bound=BaseModel)


def from_table(kind: type[R], table: object, *, where: str, fix: str | None = None) -> R:
    """Validate a table of settings and make a record of it.

    Args:
        kind: the record's class.
        table: a mapping, as read from a TOML file.
        where: what the error message names: a file, or a table of a file.
        fix: what the user can do about an error.

    Raises:
        BadInputError: a field is unknown, missing or out of range; the message names the first.
    """
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        raise _bad_field(error, where, fix) from error


def from_json(kind: type[R], path: Path, *, fix: str | None = None) -> R:
    """Read a JSON file and make a record of it; the arguments are those of `from_table`.

    Raises:
        BadInputError: the file cannot be read, is not JSON, or has a field that does not fit.
    """
    try:
        return kind.model_validate_json(read_bytes(path))
    except ValidationError as error:
        raise _bad_field(error, str(path), fix) from error


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        BadInputError: the file cannot be read, is not TOML, or is larger or nested deeper than any settings.
    """
    content = read_bytes(path)
    if len(content) > _MAX_TOML_BYTES or content.count(b".") > _MAX_DOTS:
        raise BadInputError(f"more than {_MAX_TOML_BYTES:,} bytes or {_MAX_DOTS:,} dots", where=str(path))
    try:
        return tomllib.loads(content.decode())
    except RecursionError as error:
        raise BadInputError("nested too deeply", where=str(path)) from error
    except (ValueError, OverflowError) as error:  # a date that does not exist and a number that is too long, too
        raise BadInputError(f"not TOML ({error})", where=str(path)) from error


def _bad_field(error: ValidationError, where: str, fix: str | None) -> BadInputError:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ")  # pydantic puts this in front of a validator's message
    return BadInputError(f"{field}: {what}" if field else what, where=where, fix=fix)
