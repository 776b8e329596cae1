"""Activations that are layers of their own."""

from __future__ import annotations

from tritguard.emit.code import Fields, LayerCode, Struct
from tritguard.emit.lower.context import Context, table_lookup
from tritguard.graph.model import Lookup, Softmax


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


def lookup(context: Context, position: int, op: Lookup) -> LayerCode:
    """Its table."""
    return table_lookup(context, position, op, op.table)
