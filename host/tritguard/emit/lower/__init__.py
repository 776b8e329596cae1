"""Lowers ops to C. Ops that are one plain call say so next to their reader; the others are here, by family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tritguard.emit.code import LayerCode
from tritguard.emit.lower.context import Context, plain_call
from tritguard.emit.lower.elementwise import add, batch_matmul, binary, wide_binary
from tritguard.emit.lower.shape import concatenation, copied
from tritguard.emit.lower.stripes import striped
from tritguard.emit.lower.weighted import called_with_weights, transpose_conv, weighted
from tritguard.graph.call import call_of
from tritguard.graph.emission import Emission
from tritguard.graph.model import (
    Add,
    BatchMatMul,
    Binary,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Op,
    Reshape,
    TransposeConv,
)
from tritguard.graph.stateful import Assign, Lstm, Svdf
from tritguard.graph.wide import WideBinary, WideConv, WideTransposeConv

__all__ = ["lower"]

_LOWERINGS: dict[type[Op], Callable[[Context, int, Any], LayerCode]] = {
    Conv2D: weighted,
    DepthwiseConv2D: weighted,
    FullyConnected: weighted,
    TransposeConv: transpose_conv,
    Lstm: called_with_weights,
    Svdf: called_with_weights,
    WideConv: called_with_weights,
    WideTransposeConv: called_with_weights,
    WideBinary: wide_binary,
    Add: add,
    Binary: binary,
    BatchMatMul: batch_matmul,
    Assign: copied,
    Reshape: copied,
    Concatenation: concatenation,
}


def lower(emission: Emission) -> tuple[LayerCode, ...]:
    """Lower every op of an emission's graph to C, in order of execution.

    Raises:
        UnsupportedOpError: a sum could overflow 32 bits on the device.
    """
    context = Context(emission)
    return tuple(_layer(context, position, op) for position, op in enumerate(context.graph.ops))


def _layer(context: Context, position: int, op: Op) -> LayerCode:
    lowering = _LOWERINGS.get(type(op), _called)
    layer = lowering(context, position, op)
    chain = context.plan.chain(position)
    return layer if chain is None else striped(context, layer, op, chain)


def _called(context: Context, position: int, op: Op) -> LayerCode:
    return plain_call(context, position, op, call_of(op, context.source(op), context.sink(op)))
