"""Parses quantizers as QKeras writes them into a configuration: `"quantized_relu(8, 3)"`, or a class and its settings.

QKeras itself evaluates such strings as code. Here they are only parsed, and all arguments have to be literals.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any

from tritguard.errors import BadModelError

Literal = bool | int | float | str | None


@dataclass(frozen=True)
class Call:
    """A name with arguments: a quantizer, or, without arguments, an activation function.

    Attributes:
        name: the class or function.
        args: the positional arguments.
        kwargs: the named arguments.
    """

    name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)


def parse(value: object, where: str) -> Call | None:
    """The call that a value of a configuration describes, or None for the value None.

    Raises:
        BadModelError: the value holds anything but names, literals and lists of numbers.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return _of_text(value, where)
    if isinstance(value, dict):
        config = value.get("config")
        if value.get("class_name") == "function" and isinstance(config, str):
            return _of_text(config, where)
        name = value.get("class_name")
        if isinstance(name, str) and isinstance(config, dict) and all(_is_plain(v) for v in config.values()):
            return Call(name, kwargs=config)
    raise BadModelError(f"a {type(value).__name__} where a quantizer or activation belongs", where=where)


def _of_text(text: str, where: str) -> Call:
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return Call(node.id)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and all(k.arg for k in node.keywords):
            args = tuple(ast.literal_eval(arg) for arg in node.args)
            kwargs = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
            if all(_is_plain(value) for value in (*args, *kwargs.values())):
                return Call(node.func.id, args, kwargs)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        pass
    raise BadModelError(f"{text[:60]!r} is not a quantizer with literal arguments", where=where)


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(item, int | float) for item in value)
    return value is None or isinstance(value, bool | int | float | str)
