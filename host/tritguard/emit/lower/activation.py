"""Activations that are layers of their own."""

from __future__ import annotations

import numpy as np

from tritguard.emit.code import Array, Fields, LayerCode, Struct
from tritguard.emit.lower.context import Context
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
    """A table, turned so that an int8's bits are its index."""
    table = Array("table", np.roll(op.table, -op.table.size // 2))
    fields: Fields = {"size": context.sink(op).size, "table": f"{op.symbol}_table"}
    struct = Struct("tg_lookup_t", fields)
    return context.simple(position, op, "tg_lookup", struct, "tg_lookup.c", (table,))
