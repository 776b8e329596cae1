"""What the templates print for one op: constant arrays, a parameter struct and a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from tritguard.graph.emission import Choice
from tritguard.graph.formats.registry import WeightFormat

Fields = Mapping[str, "int | str | Fields"]
_C_TYPES = {
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "int32": "int32_t",
    "uint32": "uint32_t",
    "int64": "int64_t",
}


@dataclass(frozen=True)
class Array:
    """A constant C array."""

    name: str
    values: NDArray[Any]  # one-dimensional; records for an array of structs
    struct: str | None = None  # the C type of a record
    aligned: bool = False  # read in 32-bit words, whatever its type

    @property
    def type(self) -> str:
        """The C type of an element."""
        return self.struct or _C_TYPES[self.values.dtype.name]


@dataclass(frozen=True)
class Struct:
    """A constant parameter struct."""

    type: str
    fields: Fields


@dataclass(frozen=True)
class StripeCode:
    """The code before the call of a layer that runs in stripes; `rows` is the stripe's entry in the table."""

    count: int
    table: Array
    move: str | None  # the statement that moves rows that are read again
    settings: Mapping[str, str]  # values of the fields of `params`, the stripe's copy of the layer's struct


@dataclass(frozen=True)
class LayerCode:
    """One op as C."""

    position: int
    index: int
    symbol: str  # prefix of the layer's C symbols
    op: str
    name: str
    shape: tuple[int, ...]
    macs: int
    weight_format: WeightFormat | Literal["none"] = "none"
    weight_bytes: int = 0
    choice: Choice | None = None  # only for layers with weights
    arrays: tuple[Array, ...] = ()
    struct: Struct | None = None
    call: str | None = None
    stripes: StripeCode | None = None
    sources: tuple[str, ...] = ()  # the kernel files that the call needs; their includes name the headers
