"""What the generator hands a kernel. Most ops are one call of one kernel, which is said beside their reading."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tritguard.errors import UnsupportedOpError
from tritguard.graph.model import Int8, Op, Requant, Tensor, Window

Parameters = Mapping[str, "int | str | tuple[int, ...] | NDArray[Any] | Constant | Parameters"]


@dataclass(frozen=True, eq=False)
class Constant:
    """A constant array of which C has to know more than its elements' type.

    Attributes:
        values: one-dimensional; records for an array of structs.
        struct: the C type of a record.
        aligned: whether the kernel reads it by words, whatever its type.
    """

    values: NDArray[Any]
    struct: str | None = None
    aligned: bool = False


@dataclass(frozen=True, eq=False)
class KernelCall:
    """function(&struct, inputs ..., output).

    Attributes:
        function: the kernel.
        source: the file of `firmware/kernels` that defines it; a header of the same name declares it, or tg_kernels.h.
        parameters: the struct's fields by name: numbers, C expressions, structs, arrays in the struct (tuples), and
            pointers to constant arrays of their own (one-dimensional arrays of NumPy's, or `Constant`).
        struct: its C type; by default the function's name and `_t`.
    """

    function: str
    source: str
    parameters: Parameters
    struct: str = ""

    @property
    def type(self) -> str:
        """The struct's C type."""
        return self.struct or f"{self.function}_t"


Describe = Callable[[Any, Tensor, Tensor], KernelCall]
_Described = TypeVar("_Described", bound=Describe)
_CALLS: dict[type[Op], Describe] = {}


def calls(kind: type[Op]) -> Callable[[_Described], _Described]:
    """Decorator of the function that gives an op's KernelCall, from the op, its first input and its output."""

    def register(describe: _Described) -> _Described:
        _CALLS[kind] = describe
        return describe

    return register


def call_of(op: Op, source: Tensor, sink: Tensor) -> KernelCall:
    """The call that computes an op, of those that are one plain call."""
    return _CALLS[type(op)](op, source, sink)


def scale_fields(requant: Requant) -> Parameters:
    """A `tg_scale_t`."""
    return {"multiplier": int(requant.multiplier[0]), "shift": int(requant.shift[0])}


LONGEST_SIDE = 32767  # of a tg_window_t


def window_fields(window: Window, source: tuple[int, int, int], sink: tuple[int, int, int]) -> Mapping[str, int]:
    """A `tg_window_t`.

    Raises:
        UnsupportedOpError: a side that its 16 bits do not hold.
    """
    if max(*source[:2], *sink[:2]) > LONGEST_SIDE:
        raise UnsupportedOpError(f"an image of {source[0]} x {source[1]}, sides up to {LONGEST_SIDE} are supported")
    values: dict[str, int] = {}
    for letter, inside, outside in zip("hwc", source, sink, strict=True):
        values |= {f"in_{letter}": inside, f"out_{letter}": outside}
    pairs = {"kernel": window.kernel, "stride": window.stride, "dilation": window.dilation}
    for name, (vertical, horizontal) in pairs.items():
        values |= {f"{name}_h": vertical, f"{name}_w": horizontal}
    return values | {"pad_top": window.padding[0], "pad_left": window.padding[1]}


def table_call(table: Int8, size: int) -> KernelCall:
    """A function of one element as its table, turned so that an int8's bits are its index."""
    turned = np.roll(table, -table.size // 2)
    return KernelCall("tg_lookup", "tg_lookup.c", {"size": size, "table": turned})


def filled(values: tuple[int, ...], fill: int, count: int) -> tuple[int, ...]:
    """`count` values of which the first are missing."""
    return (*(fill,) * (count - len(values)), *values)
