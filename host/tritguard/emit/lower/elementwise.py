"""Element by element: sums and rescalings."""

from __future__ import annotations

import dataclasses

from tritguard.emit.code import Array, Fields, LayerCode, Struct
from tritguard.emit.lower.context import Context, braces, scale_fields, table_lookup
from tritguard.graph import tables
from tritguard.graph.model import Add, Binary, Quantize
from tritguard.graph.narrow import is_narrow_rescaling


def add(context: Context, position: int, op: Add) -> LayerCode:
    """Both inputs to a common scale, their sum to the output's. The one of the greater scale, halved, goes first."""
    first = 0 if op.input_requants[0].shift[0] == 0 else 1
    second = 1 - first
    fields: Fields = {
        "size": context.sink(op).size,
        "zero_point_a": op.input_zero_points[first],
        "zero_point_b": op.input_zero_points[second],
        "scale_b": scale_fields(op.input_requants[second]),
        "scale_out": scale_fields(op.requant),
        "out_zero_point": op.requant.zero_point,
        "act_min": op.requant.act_min,
        "act_max": op.requant.act_max,
        "narrow": int(is_narrow_rescaling(op.requant)),
    }
    ordered = dataclasses.replace(op, inputs=(op.inputs[first], op.inputs[second]))
    return LayerCode(
        **context.base(position, op),
        struct=Struct("tg_add_t", fields),
        call=context.call(ordered, "tg_add", context.scratch(position)),
        sources=("tg_elementwise.c",),
    )


def quantize(context: Context, position: int, op: Quantize) -> LayerCode:
    """From one int8 scale to another."""
    fields: Fields = {
        "size": context.sink(op).size,
        "in_zero_point": op.input_zero_point,
        "scale": scale_fields(op.requant),
        "out_zero_point": op.requant.zero_point,
    }
    return context.simple(position, op, "tg_requantize", Struct("tg_requantize_t", fields), "tg_elementwise.c")


_AXES = 4


def binary(context: Context, position: int, op: Binary) -> LayerCode:
    """A walk over two operands; with a single constant it is a function of one element, and so a table."""
    if any(constant is not None and constant.values.size == 1 for constant in op.constants):
        return table_lookup(context, position, op, tables.with_constant(op))
    arrays = [Array("constant", constant.values) for constant in op.constants if constant is not None]
    activations = iter(op.inputs)
    places = [
        context.place(next(activations)) if constant is None else f"{op.symbol}_constant" for constant in op.constants
    ]
    fields: Fields = {
        "sizes": braces(op.sizes, 1, _AXES),
        "steps_a": braces(op.steps[0], 0, _AXES),
        "steps_b": braces(op.steps[1], 0, _AXES),
        "zero_point_a": op.zero_points[0],
        "zero_point_b": op.zero_points[1],
        **_scales(op),
        "out_zero_point": op.requant.zero_point,
        "act_min": op.requant.act_min,
        "act_max": op.requant.act_max,
    }
    call = f"tg_binary_{op.operator.lower()}(&{op.symbol}_params, {', '.join(places)}, {context.place(op.output)})"
    return LayerCode(
        **context.base(position, op),
        arrays=tuple(arrays),
        struct=Struct("tg_binary_t", fields),
        call=call,
        sources=("tg_binary.c",),
    )


def _scales(op: Binary) -> dict[str, Fields]:
    scales = {} if op.operand_requants is None else dict(zip("ab", op.operand_requants, strict=True))
    return {f"scale_{name}": scale_fields(requant) for name, requant in {**scales, "out": op.requant}.items()}
