"""The Jinja environment of the C templates, and what they spell C with."""

from __future__ import annotations

import re
import textwrap
from functools import cache
from typing import Any

import jinja2
from numpy.typing import NDArray

from tritguard import templating
from tritguard.emit.code import Fields

_INT32_MIN = -(1 << 31)
_NO_BREAK = "\0"


def _literal(value: int | tuple[int, ...], unsigned: bool) -> str:
    if isinstance(value, tuple):
        return f"{{{', '.join(_literal(part, unsigned) for part in value)}}}"
    if unsigned:
        return f"{value}u"
    # C has no literal for the least int32: its digits alone are too large for one.
    return "INT32_MIN" if value == _INT32_MIN else str(value)


def identifier(name: str) -> str:
    """What the names of a model in C start with: its own in lower case, single underscores for what cannot stand there.

    It may itself be a keyword or a function of C's: no name is it alone.
    """
    made = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return made if made[:1].isalpha() else f"model_{made}".rstrip("_")


def c_list(values: NDArray[Any]) -> str:
    """A C initialiser's body, wrapped."""
    unsigned = values.dtype.kind == "u"
    whole = (_literal(value, unsigned).replace(" ", _NO_BREAK) for value in values.tolist())
    body = textwrap.fill(", ".join(whole), 110, initial_indent="    ", subsequent_indent="    ", break_long_words=False)
    return body.replace(_NO_BREAK, " ")


def c_bytes(data: bytes) -> str:
    """A C initialiser's body of bytes, sixteen a line."""
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
    """Text that can stand in a C comment: names come from files, and nothing in one may end the comment."""
    return re.sub(r"[^A-Za-z0-9_.:;/ -]", "_", text)


@cache
def environment() -> jinja2.Environment:
    """The templates of this package, with filters that spell C."""
    made = templating.environment("tritguard.emit")
    made.filters |= {"c_bytes": c_bytes, "c_list": c_list, "c_fields": c_fields, "c_comment": c_comment}
    return made
