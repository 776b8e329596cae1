"""Element by element: sums and rescalings."""

from __future__ import annotations

from tritguard.emit.code import Fields, LayerCode, Struct
from tritguard.emit.lower.context import Context, scale_fields
from tritguard.graph.model import Add, Quantize


def add(context: Context, position: int, op: Add) -> LayerCode:
    """Both inputs to a common scale, their sum to the output's."""
    fields: Fields = {
        "size": context.sink(op).size,
        "zero_point_a": op.input_zero_points[0],
        "zero_point_b": op.input_zero_points[1],
        "scale_a": scale_fields(op.input_requants[0]),
        "scale_b": scale_fields(op.input_requants[1]),
        "scale_out": scale_fields(op.requant),
        "out_zero_point": op.requant.zero_point,
        "act_min": op.requant.act_min,
        "act_max": op.requant.act_max,
    }
    return context.simple(position, op, "tg_add", Struct("tg_add_t", fields), "tg_elementwise.c")


def quantize(context: Context, position: int, op: Quantize) -> LayerCode:
    """From one int8 scale to another."""
    fields: Fields = {
        "size": context.sink(op).size,
        "in_zero_point": op.input_zero_point,
        "scale": scale_fields(op.requant),
        "out_zero_point": op.requant.zero_point,
    }
    return context.simple(position, op, "tg_requantize", Struct("tg_requantize_t", fields), "tg_elementwise.c")
