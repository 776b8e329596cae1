"""What every lowering needs: the graph, where tensors live, and the parts that all layers' code shares."""

from __future__ import annotations

from typing import Any

import numpy as np

from tritguard.emit.code import Array, Fields, LayerCode, Struct
from tritguard.graph.arena.memory import Slot
from tritguard.graph.arena.stripes import row_bytes
from tritguard.graph.call import Constant, KernelCall, Parameters
from tritguard.graph.emission import Emission
from tritguard.graph.formats.kernel import Image, Kernel
from tritguard.graph.model import Op, Tensor


class Context:
    """An emission on its way to C."""

    def __init__(self, emission: Emission) -> None:
        self.graph, self.plan, self.choices = emission.graph, emission.plan, emission.choices
        self.logits = self.graph.logits_position()

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


def struct_of(op: Op, type_: str, parameters: Parameters) -> tuple[Struct, tuple[Array, ...]]:
    """A kernel's parameters as C: its struct, and the constant arrays that the struct points to, at any depth."""
    arrays: list[Array] = []
    return Struct(type_, _fields(op, parameters, arrays)), tuple(arrays)


def _fields(op: Op, parameters: Parameters, arrays: list[Array]) -> Fields:
    """The fields of a struct; the arrays that they point to are appended to `arrays`."""
    fields: dict[str, int | str | Fields] = {}
    for name, value in parameters.items():
        if isinstance(value, np.ndarray | Constant):
            constant = Constant(value) if isinstance(value, np.ndarray) else value
            arrays.append(Array(name, constant.values, constant.struct, constant.aligned))
            fields[name] = f"{op.symbol}_{name}"
        elif isinstance(value, tuple):
            fields[name] = f"{{{', '.join(map(str, value))}}}"
        else:
            fields[name] = value if isinstance(value, int | str) else _fields(op, value, arrays)
    return fields


def plain_call(context: Context, position: int, op: Op, call: KernelCall) -> LayerCode:
    """An op that is one call: its struct, its inputs, its output."""
    struct, arrays = struct_of(op, call.type, call.parameters)
    return LayerCode(
        **context.base(position, op),
        arrays=arrays,
        struct=struct,
        call=context.call(op, call.function),
        sources=(call.source,),
    )
