"""Ops that only move data."""

from __future__ import annotations

from tritguard.emit.code import LayerCode, Struct
from tritguard.emit.lower.context import Context
from tritguard.graph.model import Pad, Reshape


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
