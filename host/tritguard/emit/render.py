"""The Jinja environment of the C templates, with the filters that print values as C."""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from tritguard import templating
from tritguard.emit.code import Fields

_INT32_MIN = -(1 << 31)
_COLUMNS = 110 - 4 + 1  # the room of a line of literals after its indent; each has a space before it
_ENDLESS = {math.inf: "__builtin_inff()", -math.inf: "-__builtin_inff()"}


def _literal(value: Any, unsigned: bool) -> str:
    if isinstance(value, tuple | list | np.ndarray):  # a record, or an array in one
        return f"{{{', '.join(_literal(part, unsigned) for part in value)}}}"
    if isinstance(value, float):
        return f"{value!r}f" if math.isfinite(value) else _ENDLESS.get(value, '__builtin_nanf("")')
    if unsigned:
        return f"{value}u"
    # C has no literal for the least int32: without the sign its digits are too large for an int.
    return "INT32_MIN" if value == _INT32_MIN else str(value)


def identifier(name: str) -> str:
    """The prefix of a model's C names: its own name in lower case, with single underscores for what C does not allow.

    The prefix may be a C keyword or function, as no name consists of it alone.
    """
    made = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return made if made[:1].isalpha() else f"model_{made}".rstrip("_")


def c_list(values: NDArray[Any]) -> str:
    """The body of a C initialiser, wrapped; a model has such values by the hundred thousand."""
    texts = _literals(values)
    lines: list[list[str]] = []
    room = 0
    for text in (*(f"{text}," for text in texts[:-1]), *texts[-1:]):
        room -= len(text) + 1
        if room < 0 or not lines:
            lines.append([])
            room = _COLUMNS - len(text) - 1
        lines[-1].append(text)
    return "\n".join("    " + " ".join(line) for line in lines)


def _literals(values: NDArray[Any]) -> list[str]:
    if values.dtype.kind == "i" and values.dtype.itemsize < 4:
        return list(map(str, values.tolist()))
    unsigned = values.dtype.kind == "u"
    return [_literal(value, unsigned) for value in values.tolist()]


def c_bytes(data: bytes) -> str:
    """The body of a C initialiser for bytes, sixteen to a line."""
    rows = (data[start : start + 16] for start in range(0, len(data), 16))
    return "\n".join("    " + " ".join(f"0x{byte:02x}," for byte in row) for row in rows)


def c_fields(fields: Fields, depth: int = 1) -> str:
    """Designated initialisers, nested structs included."""
    indent = "    " * depth
    lines = []
    for name, value in fields.items():
        if isinstance(value, int | str):
            lines.append(f"{indent}.{name} = {value},")
        else:
            lines.append(f"{indent}.{name} = {{\n{c_fields(value, depth + 1)}\n{indent}}},")
    return "\n".join(lines)


def c_comment(text: str) -> str:
    """Text made safe for a C comment: names come from files, and nothing in them may end the comment."""
    return re.sub(r"[^A-Za-z0-9_.:;/ -]", "_", text)


@cache
def environment() -> jinja2.Environment:
    """The templates of this package, with filters that spell C."""
    made = templating.environment("tritguard.emit")
    made.filters |= {"c_bytes": c_bytes, "c_list": c_list, "c_fields": c_fields, "c_comment": c_comment}
    return made
