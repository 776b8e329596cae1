"""Reductions over height and width."""

from __future__ import annotations

from tritguard.emit.code import Fields, LayerCode, Struct
from tritguard.emit.lower.context import Context, image, scale_fields, window_fields
from tritguard.graph.model import Mean, Pool2D


def pool(context: Context, position: int, op: Pool2D) -> LayerCode:
    """Average or maximum."""
    fields: Fields = {
        "window": window_fields(op.window, image(context.source(op)), op.out_shape),
        "act_min": op.act_min,
        "act_max": op.act_max,
    }
    return context.simple(position, op, f"tg_{op.mode}_pool", Struct("tg_pool_t", fields), "tg_pool.c")


def mean(context: Context, position: int, op: Mean) -> LayerCode:
    """Mean over height and width."""
    fields: Fields = {
        "positions": op.positions,
        "channels": context.sink(op).size,
        "in_zero_point": op.input_zero_point,
        "scale": scale_fields(op.requant),
        "out_zero_point": op.requant.zero_point,
    }
    return context.simple(position, op, "tg_mean", Struct("tg_mean_t", fields), "tg_elementwise.c")
