"""Typed records, read from TOML and JSON files. An invalid file gives an error message of one line."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from tritguard.errors import BadInputError
from tritguard.files import read_bytes

# No settings come near these. The parser's memory grows with the square of the parts of a dotted key.
_MAX_TOML_BYTES = 1 << 20
_MAX_DOTS = 2000
_LONG = re.compile(rb"\d{20}")  # no number of 64 bits has more digits; a string or a fraction may


class Record(BaseModel):
    """A frozen record. An unknown field is an error."""

    # JSON has no NaN and no infinity. Such a number has to fail where it arises, not when the file is read back.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


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
        raise _bad_field(error, where, fix, kind) from error


def from_toml(
    kind: type[R],
    path: Path,
    *,
    table: str | None = None,
    options: Mapping[str, object] | None = None,
    fix: str | None = None,
) -> R:
    """Read a TOML file and make a record of it; an error names the line.

    Args:
        kind: the record's class.
        path: the file.
        table: the table that the record is made of; by default the whole file.
        options: settings that override those of the file.
        fix: what the user can do about an error.

    Raises:
        BadInputError: the file has no such table; or see `read_toml` and `from_table`.
    """
    tables = read_toml(path)
    if table is not None and table not in tables:
        raise BadInputError(
            f"no [{table}] table", where=str(path), fix=f"add one; an empty [{table}] takes all defaults"
        )
    settings = tables if table is None else tables[table]
    try:
        return kind.model_validate({**settings, **(options or {})} if isinstance(settings, dict) else settings)
    except ValidationError as error:
        inside = () if table is None else (table,)
        place = _telling(error)["loc"]
        if options and place and place[0] in options:
            raise _bad_field(error, "options", fix, kind) from error
        line = line_of(path.read_text(), (*inside, *place))
        raise _bad_field(error, str(path) if line is None else f"{path}:{line}", fix, kind, inside) from error


def from_json(kind: type[R], path: Path, *, fix: str | None = None) -> R:
    """Read a JSON file and make a record of it; the arguments are those of `from_table`.

    Raises:
        BadInputError: the file cannot be read, is not JSON, or has a field that does not fit or a number of more than
            64 bits.
    """
    content = read_bytes(path)
    if _LONG.search(content) and (beyond := _beyond_64_bits(content)):
        raise BadInputError(f"a number of {len(str(abs(beyond)))} digits", where=str(path), fix=fix)
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise _bad_field(error, str(path), fix) from error


def _beyond_64_bits(content: bytes) -> int | None:
    """A whole number in a JSON text that no counter of ours reaches, if there is one; arithmetic on it may overflow."""
    found: list[int] = []

    def kept(digits: str) -> int:
        found.append(int(digits))
        return 0

    with suppress(ValueError, RecursionError):  # no JSON, or a number of thousands of digits: the validation says so
        json.loads(content, parse_int=kept)
    return next((number for number in found if abs(number) >> 64), None)


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


def line_of(text: str, place: Sequence[str | int]) -> int | None:
    """Find the line of a TOML text that a key stands in, or the nearest key that holds it.

    Args:
        text: valid TOML.
        place: the key, as pydantic gives it: names of tables and keys, and places in arrays, which are passed over.
    """
    wanted = [str(part) for part in place if isinstance(part, str)]
    found, depth, table = None, 0, list[str]()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _parts(header[1])
            key = table
        elif entry := _ENTRY.match(line):
            key = table + _parts(entry[1])
        else:
            continue
        if len(key) > depth and key == wanted[: len(key)]:
            found, depth = number, len(key)
    return found


_KEY = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
_HEADER = re.compile(rf"\s*\[\[?\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*\]")
_ENTRY = re.compile(rf"\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*=")


def _parts(key: str) -> list[str]:
    return [part.strip("\"'") for part in re.findall(_KEY, key)]


def _bad_field(
    error: ValidationError,
    where: str,
    fix: str | None,
    kind: type[BaseModel] | None = None,
    inside: tuple[str, ...] = (),
) -> BadInputError:
    first = _telling(error)
    field = ".".join(str(part) for part in (*inside, *first["loc"]))
    what = first["msg"].removeprefix("Value error, ")  # pydantic puts this in front of a validator's message
    if first["type"] == "extra_forbidden" and kind is not None:
        what, fix = "there is no such key", _nearest(kind, first["loc"]) or fix
    return BadInputError(f"{field}: {what}" if field else what, where=where, fix=fix)


def _telling(error: ValidationError) -> ErrorDetails:
    """Choose the error to show: the first, unless it is about a missing key that the same table has misspelt."""
    first, *others = error.errors()
    if first["type"] != "missing":
        return first
    *table, missing = first["loc"]
    beside = (one for one in others if one["type"] == "extra_forbidden" and list(one["loc"][:-1]) == table)
    return next((one for one in beside if difflib.get_close_matches(str(one["loc"][-1]), [str(missing)])), first)


def _nearest(kind: type[BaseModel], place: Sequence[str | int]) -> str | None:
    """Say which key comes nearest to one that a record does not have."""
    *tables, key = place
    record: type[BaseModel] | None = kind
    for name in (part for part in tables if isinstance(part, str)):
        field = None if record is None else record.model_fields.get(name)
        record = None if field is None else next(_records_in(field.annotation), None)
    if record is None:
        return None
    if tables and key == tables[-1]:
        return f"within [{key}] a key is written without {str(key) + '.'!r}"
    if tables and key in kind.model_fields:
        return f"{key!r} is no part of a table: write it above the first [table]"
    near = difflib.get_close_matches(str(key), record.model_fields, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(record.model_fields)}"


def _records_in(annotation: object) -> Iterator[type[BaseModel]]:
    """Find the records in a field's type, through unions, tuples and the like."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _records_in(inner)
