"""Activations that are layers of their own."""

from __future__ import annotations

from tritguard.emit.code import Fields, LayerCode, Struct
from tritguard.emit.lower.context import Context
from tritguard.graph.model import Softmax


def softmax(context: Context, position: int, op: Softmax) -> LayerCode:
    """Softmax over each row."""
    fields: Fields = {
        "rows": op.rows,
        "depth": context.sink(op).size // op.rows,
        "multiplier": op.multiplier,
        "left_shift": op.left_shift,
        "diff_min": op.diff_min,
    }
    return context.simple(position, op, "tg_softmax", Struct("tg_softmax_t", fields), "tg_softmax.c")
