"""The readers of ops: each function registers itself where it is defined."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tritguard.errors import UnsupportedOpError
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import Op
from tritguard.graph.reading.reader import Reader

Reading = Callable[[Reader, RawOp], Op | tuple[Op, ...]]
_Registered = TypeVar("_Registered", bound=Reading)
_READINGS: dict[str, Reading] = {}


def reads(*names: str) -> Callable[[_Registered], _Registered]:
    """Decorator for the function that reads ops of these names, spelt as in the schema."""

    def register(reading: _Registered) -> _Registered:
        _READINGS.update(dict.fromkeys(names, reading))
        return reading

    return register


def supported_ops() -> tuple[str, ...]:
    """The names of all ops that are read, sorted."""
    return tuple(sorted(_READINGS))


def read_op(reader: Reader, raw: RawOp) -> tuple[Op, ...]:
    """The typed op, or one for each output of an op with several.

    Raises:
        UnsupportedOpError: no function reads ops of this name.
    """
    reading = _READINGS.get(raw.name)
    if reading is None:
        raise UnsupportedOpError(f"not supported; supported are {', '.join(supported_ops())}", where=raw.describe())
    made = reading(reader, raw)
    return made if isinstance(made, tuple) else (made,)
