"""What every lowering needs: the graph, where tensors live, and the parts that all layers' code shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tritguard.emit.code import Array, Fields, LayerCode, Struct
from tritguard.errors import UnsupportedOpError
from tritguard.graph.choice import Choice
from tritguard.graph.kernels import Kernel
from tritguard.graph.memory import MemoryPlan, Slot
from tritguard.graph.model import Graph, Int8, Op, Requant, Tensor, Window
from tritguard.graph.stripes import row_bytes

Image = tuple[int, int, int]


@dataclass(frozen=True)
class Context:
    """A planned graph on its way to C for one core class."""

    graph: Graph
    plan: MemoryPlan
    choices: Mapping[int, Choice]  # of layers with weights, by position
    logits: int | None  # position of the layer that gives them

    def source(self, op: Op, which: int = 0) -> Tensor:
        """An input of the op."""
        return self.graph.tensors[op.inputs[which]]

    def sink(self, op: Op) -> Tensor:
        """The output of the op."""
        return self.graph.tensors[op.output]

    def place(self, tensor: int) -> str:
        """The C expression of a tensor's address."""
        slot = self.plan.place(tensor)
        if isinstance(slot, Slot):
            return f"tg_arena + {slot.offset}" if slot.offset else "tg_arena"
        return slot

    def kernel(self, position: int) -> Kernel:
        """The kernel of a layer with weights."""
        return self.choices[position].kernel

    def scratch(self, position: int) -> str:
        """The C expression of the address of a layer's scratch."""
        slot = self.plan.scratch.get(position)
        return "NULL" if slot is None else f"TG_SCRATCH({slot.offset}, {slot.size})"

    def base(self, position: int, op: Op) -> dict[str, Any]:
        """The fields of LayerCode that every op has."""
        sink = self.sink(op)
        return {
            "position": position,
            "index": op.index,
            "symbol": op.symbol,
            "op": op.kind,
            "name": sink.name.split(";")[-1],
            "shape": sink.shape,
            "macs": op.macs,
        }

    def call(self, op: Op, kernel: str, *extra: str) -> str:
        """The call of a kernel: parameters, inputs, output, and what else it takes."""
        params, places = f"&{op.symbol}_params", [self.place(tensor) for tensor in (*op.inputs, op.output)]
        position = self.graph.producers[op.output]
        if self.plan.chain(position) is not None:  # the op itself may have its operands in another order
            rows = dict(zip(self.graph.ops[position].inputs, ("from_a", "from_b"), strict=False)) | {op.output: "to"}
            params, places = "&params", [self.row(tensor, rows[tensor]) for tensor in (*op.inputs, op.output)]
        return f"{kernel}({', '.join([params, *places, *extra])})"

    def row(self, tensor: int, rows: str) -> str:
        """The C expression of the address of a row that a stripe's table gives."""
        return f"{self.place(tensor)} + ({row_bytes(self.graph, tensor)} * rows->{rows})"

    def simple(
        self, position: int, op: Op, kernel: str, struct: Struct, source: str, arrays: tuple[Array, ...] = ()
    ) -> LayerCode:
        """An op without weights: one struct and one call, and constant arrays that the struct points to."""
        call = self.call(op, kernel)
        return LayerCode(**self.base(position, op), arrays=arrays, struct=struct, call=call, sources=(source,))

    def weighted(self, position: int, op: Op, arrays: tuple[Array, ...], struct: Struct) -> LayerCode:
        """A layer with weights: besides its tensors, the kernel takes a place for the logits and one for scratch."""
        choice = self.choices[position]
        kernel = choice.kernel
        extra = ["logits" if position == self.logits else "NULL"]
        if kernel.scratch_bytes:
            extra.append(self.scratch(position))
        return LayerCode(
            **self.base(position, op),
            weight_format=kernel.weight_format,
            weight_bytes=kernel.weights.nbytes,
            choice=choice,
            arrays=arrays,
            struct=struct,
            call=self.call(op, kernel.function, *extra),
            sources=kernel.sources,
        )


def image(tensor: Tensor) -> Image:
    """Height, width and channels."""
    height, width, channels = tensor.shape
    return height, width, channels


LONGEST_SIDE = 32767  # of a tg_window_t


def window_fields(window: Window, source: Image, sink: Image) -> Fields:
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


def scale_fields(requant: Requant) -> Fields:
    """A `tg_scale_t`."""
    return {"multiplier": int(requant.multiplier[0]), "shift": int(requant.shift[0])}


def braces(values: tuple[int, ...], fill: int, count: int) -> str:
    """An array of `count` in a struct; what is missing comes first."""
    return f"{{{', '.join(map(str, (*(fill,) * (count - len(values)), *values)))}}}"


def table_lookup(context: Context, position: int, op: Op, values: Int8) -> LayerCode:
    """A function of one element as a table, turned so that an int8's bits are its index."""
    table = Array("table", np.roll(values, -values.size // 2))
    fields: Fields = {"size": context.sink(op).size, "table": f"{op.symbol}_table"}
    return context.simple(position, op, "tg_lookup", Struct("tg_lookup_t", fields), "tg_lookup.c", (table,))
