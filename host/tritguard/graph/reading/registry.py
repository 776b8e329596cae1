"""The readers of ops: each function registers itself where it is defined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tritguard.errors import UnsupportedOpError
from tritguard.graph.flatbuffer import SUBGRAPH_OPS, RawOp
from tritguard.graph.model import Op
from tritguard.graph.reading.reader import Reader
from tritguard.oracle import registered_name, registered_ops

Reading = Callable[[Reader, RawOp], Op | tuple[Op, ...]]
_Registered = TypeVar("_Registered", bound=Reading)
_READINGS: dict[str, Reading] = {}
_WIDE_READINGS: dict[str, Reading] = {}  # for ops with 16-bit activations
# Why an op is refused, and what to do, for ops that are refused by their names alone.
_REASONS = {
    "CUSTOM edgetpu-custom-op": ("compiled for an Edge TPU", "give the .tflite from before the Edge TPU's compiler"),
    "CUSTOM ethos-u": ("compiled for an Ethos-U", "give the .tflite from before Vela"),
    **{name: (reason, "") for name, reason in SUBGRAPH_OPS.items()},
}
_FLOAT_ALONE = {"CEIL", "COS", "EXP", "FLOOR", "LOG", "NEG", "ROUND", "SIN", "SQRT", "SQUARE"}


@dataclass(frozen=True)
class OpFacts:
    """What the documentation says about an op: what it is on the device, and what limits it has."""

    device: str
    limits: str


FACTS: dict[str, OpFacts] = {}
WIDE_LIMITS: dict[str, str] = {}  # for the ops that are taken with 16-bit activations too


def reads(*names: str, device: str, limits: str = "", any_width: bool = False) -> Callable[[_Registered], _Registered]:
    """Decorator for the function that reads ops of these names, spelt as in the schema.

    Args:
        names: the ops.
        device: what they are on the device; ops with the same text share a row of the documentation.
        limits: which of them are taken, where TFLM takes more.
        any_width: whether it reads them with 16-bit activations too.
    """

    def register(reading: _Registered) -> _Registered:
        _READINGS.update(dict.fromkeys(names, reading))
        describes(*names, device=device, limits=limits)
        return reads_wide(*names)(reading) if any_width else reading

    return register


def reads_wide(*names: str, limits: str = "") -> Callable[[_Registered], _Registered]:
    """Decorator for the function that reads ops of these names with 16-bit activations; arguments as for `reads`."""

    def register(reading: _Registered) -> _Registered:
        _WIDE_READINGS.update(dict.fromkeys(names, reading))
        WIDE_LIMITS.update(dict.fromkeys(names, limits))
        return reading

    return register


def describes(*names: str, device: str, limits: str = "") -> None:
    """Register ops that are taken without a function of their own; arguments as for `reads`."""
    FACTS.update(dict.fromkeys(names, OpFacts(device, limits)))


def supported_ops() -> tuple[str, ...]:
    """The names of all ops that are taken, sorted."""
    return tuple(sorted(FACTS))


def read_op(reader: Reader, raw: RawOp) -> tuple[Op, ...]:
    """The typed op, or one for each output of an op with several.

    Raises:
        UnsupportedOpError: no function reads ops of this name, or none with 16-bit activations.
    """
    check_supported(raw)
    wide = reader.has_wide(raw)
    reading = _WIDE_READINGS.get(raw.name) if wide else _READINGS[raw.name]
    if reading is None:
        known = ", ".join(sorted(WIDE_LIMITS))
        raise UnsupportedOpError(f"16-bit activations, which are supported of {known}", where=raw.describe())
    made = reading(reader, raw)
    return made if isinstance(made, tuple) else (made,)


def check_supported(raw: RawOp) -> None:
    """Raise UnsupportedOpError, which says why, unless a function reads ops of this name."""
    if raw.name in _READINGS:
        return
    known = registered_ops()
    if raw.name in _REASONS:
        what, fix = _REASONS[raw.name]
    elif raw.name in _FLOAT_ALONE:
        what, fix = "TensorFlow Lite Micro has it for float32 alone", ""
    elif known and registered_name(raw.name) not in known:
        what, fix = "TensorFlow Lite Micro has no such op", ""
    else:
        what, fix = "not supported", ""
    raise UnsupportedOpError(f"{what}; supported are {', '.join(supported_ops())}", where=raw.describe(), fix=fix)
