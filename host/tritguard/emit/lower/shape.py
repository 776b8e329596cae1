"""Lowers ops that move data and are more than one plain call."""

from __future__ import annotations

import numpy as np

from tritguard.emit.code import LayerCode
from tritguard.emit.lower.context import Context, struct_of
from tritguard.graph.model import Concatenation, Reshape
from tritguard.graph.stateful import Assign


def copied(context: Context, position: int, op: Reshape | Assign) -> LayerCode:
    """No code if both tensors share one place; otherwise a copy from one place outside the arena to another."""
    source, sink = context.place(op.inputs[0]), context.place(op.output)
    call = None if source == sink else f"(void)memcpy({sink}, {source}, {context.sink(op).bytes})"
    return LayerCode(**context.base(position, op), call=call)


def concatenation(context: Context, position: int, op: Concatenation) -> LayerCode:
    """One call that writes the rows of all inputs one after the other."""
    widths = np.array(op.widths, dtype=np.int32) * context.sink(op).width
    struct, arrays = struct_of(op, "tg_concatenate_t", {"count": len(op.widths), "rows": op.rows, "widths": widths})
    places = ", ".join(context.place(tensor) for tensor in op.inputs)
    return LayerCode(
        **context.base(position, op),
        arrays=arrays,
        struct=struct,
        call=f"tg_concatenate(&{op.symbol}_params, (const int8_t *const[]){{{places}}}, {context.place(op.output)})",
        sources=("tg_concatenate.c",),
    )
