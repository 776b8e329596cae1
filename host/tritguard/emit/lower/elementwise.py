"""Lowers functions of two elements, and products of matrices."""

from __future__ import annotations

import dataclasses

from tritguard.emit.code import Array, LayerCode
from tritguard.emit.lower.context import Context, plain_call, struct_of
from tritguard.graph.arithmetic import tables
from tritguard.graph.call import Parameters, filled, product_fields, scale_fields, table_call
from tritguard.graph.formats.narrow import is_narrow_rescaling
from tritguard.graph.model import Add, BatchMatMul, Binary
from tritguard.graph.model import Constant as Int8Constant
from tritguard.graph.wide import WideBinary


def add(context: Context, position: int, op: Add) -> LayerCode:
    """Rescale both inputs to a common scale, and then their sum. The input of greater scale goes first, halved."""
    first = 0 if op.input_requants[0].shift[0] == 0 else 1
    second = 1 - first
    parameters: Parameters = {
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
        struct=struct_of(op, "tg_add_t", parameters)[0],
        call=context.call(ordered, "tg_add", context.scratch(position)),
        sources=("tg_elementwise.c",),
    )


_AXES = 4


def binary(context: Context, position: int, op: Binary) -> LayerCode:
    """A walk over two operands; with a single constant as an operand it is a function of one element: a table."""
    if any(constant is not None and constant.values.size == 1 for constant in op.constants):
        return plain_call(context, position, op, table_call(tables.with_constant(op), context.sink(op).size))
    constants, places = operands(context, op)
    parameters: Parameters = {
        "sizes": filled(op.sizes, 1, _AXES),
        "steps_a": filled(op.steps[0], 0, _AXES),
        "steps_b": filled(op.steps[1], 0, _AXES),
        "zero_point_a": op.zero_points[0],
        "zero_point_b": op.zero_points[1],
        **_scales(op),
        "out_zero_point": op.requant.zero_point,
        "act_min": op.requant.act_min,
        "act_max": op.requant.act_max,
    }
    struct, _ = struct_of(op, "tg_binary_t", parameters)
    call = f"tg_binary_{op.operator.lower()}(&{op.symbol}_params, {places}, {context.place(op.output)})"
    return LayerCode(**context.base(position, op), arrays=constants, struct=struct, call=call, sources=("tg_binary.c",))


def wide_binary(context: Context, position: int, op: WideBinary) -> LayerCode:
    """A walk over two operands of 16 bits."""
    constants, places = operands(context, op)
    parameters: Parameters = {
        "sizes": filled(op.sizes, 1, _AXES),
        "steps_a": filled(op.steps[0], 0, _AXES),
        "steps_b": filled(op.steps[1], 0, _AXES),
        **_scales(op),
        "act_min": op.requant.act_min,
        "act_max": op.requant.act_max,
    }
    struct, _ = struct_of(op, "tg_wide_binary_t", parameters)
    call = f"tg_wide_{op.operator.lower()}(&{op.symbol}_params, {places}, {context.place(op.output)})"
    return LayerCode(
        **context.base(position, op), arrays=constants, struct=struct, call=call, sources=("tg_wide_binary.c",)
    )


def operands(context: Context, op: Binary | BatchMatMul | WideBinary) -> tuple[tuple[Array, ...], str]:
    """The arrays of operands that are constants, and the C expressions for both operands' addresses."""
    constants = tuple(
        Array("constant", constant.values if isinstance(constant, Int8Constant) else constant)
        for constant in op.constants
        if constant is not None
    )
    activations = iter(op.inputs)
    places = [
        context.place(next(activations)) if constant is None else f"{op.symbol}_constant" for constant in op.constants
    ]
    return constants, ", ".join(places)


def batch_matmul(context: Context, position: int, op: BatchMatMul) -> LayerCode:
    """One call over both operands."""
    constants, places = operands(context, op)
    parameters: Parameters = {
        **product_fields(op, "tg_product_t"),
        "zero_point_a": op.zero_points[0],
        "zero_point_b": op.zero_points[1],
        "scale": scale_fields(op.requant),
        "out_zero_point": op.requant.zero_point,
    }
    struct, arrays = struct_of(op, "tg_batch_matmul_t", parameters)
    return LayerCode(
        **context.base(position, op),
        arrays=(*constants, *arrays),
        struct=struct,
        call=f"tg_batch_matmul(&{op.symbol}_params, {places}, {context.place(op.output)})",
        sources=("tg_batch_matmul.c",),
    )


def _scales(op: Binary | WideBinary) -> dict[str, Parameters]:
    scales = {} if op.operand_requants is None else dict(zip("ab", op.operand_requants, strict=True))
    return {f"scale_{name}": scale_fields(requant) for name, requant in {**scales, "out": op.requant}.items()}
