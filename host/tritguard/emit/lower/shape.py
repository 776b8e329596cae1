"""Ops that only move data."""

from __future__ import annotations

import numpy as np

from tritguard.emit.code import Array, Fields, LayerCode, Struct
from tritguard.emit.lower.context import Context, braces
from tritguard.graph.model import Concatenation, Pad, Reshape, ResizeNearest, View


def pad(context: Context, position: int, op: Pad) -> LayerCode:
    """Constant padding."""
    fields: dict[str, int] = {"value": op.value}
    for letter, inside, outside, before in zip(
        "hwc", context.source(op).shape, context.sink(op).shape, op.before, strict=True
    ):
        fields |= {f"in_{letter}": inside, f"out_{letter}": outside, f"before_{letter}": before}
    return context.simple(position, op, "tg_pad", Struct("tg_pad_t", fields), "tg_elementwise.c")


def reshape(context: Context, position: int, op: Reshape) -> LayerCode:
    """No code where both names stand for one place; a copy from the caller's input to its output."""
    source, sink = context.place(op.inputs[0]), context.place(op.output)
    call = None if source == sink else f"(void)memcpy({sink}, {source}, {context.sink(op).size})"
    return LayerCode(**context.base(position, op), call=call)


_VIEW_AXES = 5


def view(context: Context, position: int, op: View) -> LayerCode:
    """A walk over the output with a step through the input for each axis."""
    sizes, steps = braces(op.sizes, 1, _VIEW_AXES), braces(op.steps, 0, _VIEW_AXES)
    fields: Fields = {"offset": op.offset, "sizes": sizes, "steps": steps}
    return context.simple(position, op, "tg_view", Struct("tg_view_t", fields), "tg_view.c")


def concatenation(context: Context, position: int, op: Concatenation) -> LayerCode:
    """Rows of all inputs, one behind the other."""
    widths = Array("widths", np.array(op.widths, dtype=np.int32))
    fields: Fields = {"count": len(op.widths), "rows": op.rows, "widths": f"{op.symbol}_widths"}
    places = ", ".join(context.place(tensor) for tensor in op.inputs)
    return LayerCode(
        **context.base(position, op),
        arrays=(widths,),
        struct=Struct("tg_concatenate_t", fields),
        call=f"tg_concatenate(&{op.symbol}_params, (const int8_t *const[]){{{places}}}, {context.place(op.output)})",
        sources=("tg_concatenate.c",),
    )


def resize_nearest(context: Context, position: int, op: ResizeNearest) -> LayerCode:
    """Whole pixels, found by index."""
    rows = Array("rows", np.array(op.rows, dtype=np.uint16))
    columns = Array("columns", np.array(op.columns, dtype=np.uint16))
    _, in_w, channels = context.source(op).shape
    fields: Fields = {
        "in_w": in_w,
        "out_h": len(op.rows),
        "out_w": len(op.columns),
        "channels": channels,
        "rows": f"{op.symbol}_rows",
        "columns": f"{op.symbol}_columns",
    }
    struct = Struct("tg_resize_nearest_t", fields)
    return context.simple(position, op, "tg_resize_nearest", struct, "tg_resize.c", (rows, columns))
