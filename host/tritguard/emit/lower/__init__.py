"""Lowering: from ops to C, one file a family of ops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tritguard.emit.code import LayerCode
from tritguard.emit.lower.activation import lookup, softmax
from tritguard.emit.lower.context import Context
from tritguard.emit.lower.elementwise import add, binary, quantize
from tritguard.emit.lower.pool import mean, pool
from tritguard.emit.lower.shape import concatenation, pad, reshape, resize_nearest, view
from tritguard.emit.lower.stripes import striped
from tritguard.emit.lower.weighted import conv, depthwise, fully_connected, transpose_conv
from tritguard.graph.choice import Choice
from tritguard.graph.memory import MemoryPlan
from tritguard.graph.model import (
    Add,
    Binary,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    Lookup,
    Mean,
    Op,
    Pad,
    Pool2D,
    Quantize,
    Reshape,
    ResizeNearest,
    Softmax,
    TransposeConv,
    View,
)

__all__ = ["lower"]

_LOWERINGS: dict[type[Op], Callable[[Context, int, Any], LayerCode]] = {
    Conv2D: conv,
    DepthwiseConv2D: depthwise,
    FullyConnected: fully_connected,
    TransposeConv: transpose_conv,
    Add: add,
    Binary: binary,
    Pool2D: pool,
    Mean: mean,
    Softmax: softmax,
    Pad: pad,
    Quantize: quantize,
    Reshape: reshape,
    Lookup: lookup,
    View: view,
    Concatenation: concatenation,
    ResizeNearest: resize_nearest,
}


def lower(graph: Graph, plan: MemoryPlan, choices: Mapping[int, Choice]) -> tuple[LayerCode, ...]:
    """Every op of a planned graph as C, in order of execution.

    Raises:
        UnsupportedOpError: a sum that could leave 32 bits on the device.
    """
    context = Context(graph, plan, choices, graph.logits_position())
    return tuple(_layer(context, position, op) for position, op in enumerate(graph.ops))


def _layer(context: Context, position: int, op: Op) -> LayerCode:
    layer = _LOWERINGS[type(op)](context, position, op)
    chain = context.plan.chain(position)
    return layer if chain is None else striped(context, layer, op, chain)
