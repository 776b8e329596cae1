"""What the generator hands to a kernel. Most ops are one call of one kernel, described next to the op's reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tritguard.errors import UnsupportedOpError
from tritguard.graph.model import BatchMatMul, Int8, Op, Requant, Tensor, Window
from tritguard.graph.wide import WideMatMul

Parameters = Mapping[str, "int | str | tuple[int, ...] | NDArray[Any] | Constant | Parameters"]


@dataclass(frozen=True, eq=False)
class Constant:
    """A constant array about which C must know more than the type of its elements.

    Attributes:
        values: one-dimensional; records for an array of structs.
        struct: the C type of a record.
        aligned: whether the kernel reads it in 32-bit words, whatever its element type.
    """

    values: NDArray[Any]
    struct: str | None = None
    aligned: bool = False


@dataclass(frozen=True, eq=False)
class KernelCall:
    """The C call `function(&struct, inputs ..., output)`.

    Attributes:
        function: the kernel's C name.
        source: the file of `firmware/kernels` that defines it; a header of the same name or tg_kernels.h declares it.
        parameters: the struct's fields by name: numbers, C expressions, structs, arrays in the struct (tuples), and
            pointers to constant arrays (one-dimensional NumPy arrays, or `Constant`).
        struct: the C type of these parameters; by default the function's name and `_t`.
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
    """Decorator for the function that makes an op's KernelCall from the op, its first input and its output."""

    def register(describe: _Described) -> _Described:
        _CALLS[kind] = describe
        return describe

    return register


def call_of(op: Op, source: Tensor, sink: Tensor) -> KernelCall:
    """The call that computes an op, for ops that are one plain call."""
    return _CALLS[type(op)](op, source, sink)


def scale_fields(requant: Requant) -> Parameters:
    """The fields of a `tg_scale_t`."""
    return {"multiplier": int(requant.multiplier[0]), "shift": int(requant.shift[0])}


LONGEST_SIDE = 32767  # the most that a side in a tg_window_t holds


def product_fields(op: BatchMatMul | WideMatMul, struct: str) -> Parameters:
    """The fields of a kernel's parameters that say which matrices are multiplied; `struct`: the C type of a batch."""
    return {
        "batches": Constant(np.array(list(op.batches), dtype=[("a", "i4"), ("b", "i4")]), struct),
        "count": len(op.batches),
        "rows": op.rows,
        "depth": op.depth,
        "columns": op.columns,
        "row_a": op.steps[0][0],
        "along_a": op.steps[0][1],
        "row_b": op.steps[1][0],
        "along_b": op.steps[1][1],
    }


def window_fields(window: Window, source: tuple[int, int, int], sink: tuple[int, int, int]) -> Mapping[str, int]:
    """The fields of a `tg_window_t`.

    Args:
        window: the sliding window.
        source: height, width and channels of the input.
        sink: height, width and channels of the output.

    Raises:
        UnsupportedOpError: a side does not fit the struct's 16 bits.
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
    """The call for a function of one element: its table, rotated so that the bits of an int8 are the index."""
    turned = np.roll(table, -table.size // 2)
    return KernelCall("tg_lookup", "tg_lookup.c", {"size": size, "table": turned})


def filled(values: tuple[int, ...], fill: int, count: int) -> tuple[int, ...]:
    """Exactly `count` values: `values`, with `fill` in front for those that are missing."""
    return (*(fill,) * (count - len(values)), *values)
