"""Fuses separate activations into the clamp of the layer before them, where the bytes stay the same.

RELU and RELU6 without rescaling are int8 clamps, and every layer that requantises ends in a clamp; the intersection of
the two is one clamp. A lookup table that acts as a clamp on all values its producer can give is found by trying it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tritguard.graph.arithmetic.fixed_point import INT8_MIN
from tritguard.graph.model import Add, Binary, Graph, Lookup, Op, Pool2D, TransposeConv, Weighted


def fuse_clamps(graph: Graph) -> Graph:
    """The graph without lookups that only clamp the output of a layer that nothing else reads."""
    ops = list(graph.ops)
    for lookup in [op for op in ops if isinstance(op, Lookup)]:
        tensor = lookup.inputs[0]
        position = next((i for i, op in enumerate(ops) if op.output == tensor), None)
        readers = sum(op.inputs.count(tensor) for op in ops)
        if position is None or readers != 1 or tensor in graph.left:
            continue
        fused = _clamped(ops[position], lookup)
        if fused is not None:
            ops[position] = fused
            ops.remove(lookup)
    if len(ops) == len(graph.ops):
        return graph
    used = {*graph.given, *graph.left} | {tensor for op in ops for tensor in (*op.inputs, op.output)}
    tensors = {index: tensor for index, tensor in graph.tensors.items() if index in used}
    return replace(graph, tensors=tensors, ops=tuple(ops))


def _clamped(producer: Op, lookup: Lookup) -> Op | None:
    """The producer with the lookup's output and clamp; None if the lookup does more than clamp."""
    if isinstance(producer, Weighted | TransposeConv | Add | Binary):
        low, high = producer.requant.act_min, producer.requant.act_max
    elif isinstance(producer, Pool2D):
        low, high = producer.act_min, producer.act_max
    else:
        return None
    values = np.arange(low, high + 1)
    given = lookup.table[values - INT8_MIN]
    bounds = (int(given[0]), int(given[-1])) if given.size else (0, 0)
    if not given.size or not np.array_equal(np.clip(values, *bounds), given):
        return None
    if isinstance(producer, Pool2D):
        return replace(producer, output=lookup.output, act_min=bounds[0], act_max=bounds[1])
    requant = replace(producer.requant, act_min=bounds[0], act_max=bounds[1])
    return replace(producer, output=lookup.output, requant=requant)
