"""Removes dead channels: those that are the same for every input, and those that nothing reads.

A constant channel contributes a constant to every sum it enters, which moves into the next layer's bias. That is
exact only where each tap that reads it sees it at every position: over SAME padding a tap sees the zero point at
the edges instead. So a constant folds where it equals the consumer's zero point, or where the taps that weigh it
never touch padding, and is kept otherwise. The accumulators of what remains are the same modulo 2^32, the logits
included; the graph's own input, output and states keep their shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from tritguard.graph.model import (
    Add,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    Int32,
    Int64,
    Lookup,
    Mean,
    Op,
    Pad,
    Pool2D,
    Quantize,
    Reshape,
    Weighted,
)
from tritguard.graph.passes.ranges import Bool, Range, channel_ranges, input_vector, reach

W = TypeVar("W", bound=Weighted)
Masks = dict[int, Bool]  # tensor -> the channels that stay


def remove_dead_channels(graph: Graph) -> Graph:
    """The graph without its dead channels; the same object if all are live."""
    ranges = channel_ranges(graph)
    kept = _kept_channels(graph, ranges)
    if all(mask.all() for mask in kept.values()):
        return graph
    tensors = {
        index: replace(tensor, shape=(*tensor.shape[:-1], int(kept[index].sum())))
        for index, tensor in graph.tensors.items()
    }
    ops = tuple(_REWRITES.get(type(op), _unchanged)(graph, op, kept, ranges) for op in graph.ops)
    return replace(graph, tensors=tensors, ops=ops)


def surviving_weights(graph: Graph) -> dict[int, Int64]:
    """For each layer's index, the places in its flat weights of those that `remove_dead_channels` keeps, in order."""
    ranges = channel_ranges(graph)
    kept, found = _kept_channels(graph, ranges), {}
    for op in graph.ops:
        if isinstance(op, Weighted):
            places: Any = np.arange(op.weights.size).reshape(op.weights.shape)
            slim = _REWRITES.get(type(op), _unchanged)(graph, replace(op, weights=places), kept, ranges)
            assert isinstance(slim, Weighted)
            found[op.index] = slim.weights.astype(np.int64).ravel()
    return found


@dataclass(frozen=True)
class Removed:
    """What was removed from one layer: output channels, MACs and bytes of int8 weights."""

    channels: int = 0
    macs: int = 0
    weight_bytes: int = 0


def removed(before: Op, after: Op) -> Removed:
    """The difference between two versions of an op; zero for ops without weights."""
    if not (isinstance(before, Weighted) and isinstance(after, Weighted)):
        return Removed()
    return Removed(
        before.bias.size - after.bias.size, before.macs - after.macs, before.weights.nbytes - after.weights.nbytes
    )


# --- which channels stay: masks grow from the graph's edges until every op is satisfied -------------------------------


def _kept_channels(graph: Graph, ranges: dict[int, Range]) -> Masks:
    kept = {index: np.zeros(tensor.shape[-1], dtype=bool) for index, tensor in graph.tensors.items()}
    for edge in (*graph.given, *graph.left):
        kept[edge][:] = True
    _grow(graph, kept, ranges)
    # No kernel takes a tensor without channels, so one is kept where none is live.
    for mask in kept.values():
        mask[0] |= not mask.any()
    _grow(graph, kept, ranges)
    return kept


def _grow(graph: Graph, kept: Masks, ranges: dict[int, Range]) -> None:
    count = -1
    while count != (count := sum(int(mask.sum()) for mask in kept.values())):
        for op in reversed(graph.ops):
            _NEEDS.get(type(op), _needs_all)(graph, op, kept, ranges)


def _needs_all(graph: Graph, op: Op, kept: Masks, ranges: dict[int, Range]) -> None:
    for tensor in (*op.inputs, op.output):
        kept[tensor][:] = True


def _needs_conv(graph: Graph, op: Conv2D, kept: Masks, ranges: dict[int, Range]) -> None:
    source = op.inputs[0]
    taps = reach(op.window, graph.tensors[source].shape, op.out_shape)
    depth = op.weights.shape[3]
    weighs = op.weights[kept[op.output]].reshape(-1, taps.inside.size, depth).any(axis=0) & taps.inside[:, None]
    at_edge = (weighs & taps.outside[:, None]).any(axis=0)
    folds = ranges[source].constant & (~at_edge | (ranges[source].low == op.input_zero_point))
    kept[source] |= weighs.any(axis=0) & ~folds


def _needs_fully_connected(graph: Graph, op: FullyConnected, kept: Masks, ranges: dict[int, Range]) -> None:
    source = op.inputs[0]
    live = op.weights[kept[op.output]].any(axis=0) & ~input_vector(graph, op, ranges).constant
    kept[source], _ = _settled(kept[source], live, graph.tensors[source].size)


def _needs_depthwise(graph: Graph, op: DepthwiseConv2D, kept: Masks, ranges: dict[int, Range]) -> None:
    """Each channel has its own filter, so an input channel and its outputs are kept or removed together."""
    source = op.inputs[0]
    kept[source] |= kept[op.output].reshape(-1, op.depth_multiplier).any(axis=1)
    kept[op.output] |= np.repeat(kept[source], op.depth_multiplier)


def _needs_same(graph: Graph, op: Op, kept: Masks, ranges: dict[int, Range]) -> None:
    """All inputs and the output keep the same channels; if they differ in the number of channels, they keep all."""
    tensors = (*op.inputs, op.output)
    if len({kept[tensor].size for tensor in tensors}) > 1:
        _needs_all(graph, op, kept, ranges)
        return
    union = np.logical_or.reduce([kept[tensor] for tensor in tensors])
    for tensor in tensors:
        kept[tensor] |= union


def _needs_reshape(graph: Graph, op: Reshape, kept: Masks, ranges: dict[int, Range]) -> None:
    source = op.inputs[0]
    kept[source], kept[op.output] = _settled(kept[source], kept[op.output], graph.tensors[source].size)


def _settled(first: Bool, second: Bool, size: int) -> tuple[Bool, Bool]:
    """Grow masks of two last axes over the same `size` elements until both keep the same elements."""
    while True:
        elements = np.resize(first, size) | np.resize(second, size)
        grown: list[Bool] = [np.any(elements.reshape(-1, mask.size), axis=0) for mask in (first, second)]
        if np.array_equal(grown[0], first) and np.array_equal(grown[1], second):
            return first, second
        first, second = grown


_NEEDS: dict[type[Op], Callable[[Graph, Any, Masks, dict[int, Range]], None]] = {
    Conv2D: _needs_conv,
    FullyConnected: _needs_fully_connected,
    DepthwiseConv2D: _needs_depthwise,
    Add: _needs_same,
    Pool2D: _needs_same,
    Mean: _needs_same,
    Quantize: _needs_same,
    Lookup: _needs_same,
    Pad: _needs_same,
    Reshape: _needs_reshape,
}


# --- ops over the channels that stay ---------------------------------------------------------------------------------


def _unchanged(graph: Graph, op: Op, kept: Masks, ranges: dict[int, Range]) -> Op:
    return op


def _offsets(inputs: Range, gone: Bool, zero_point: int) -> Int64:
    """What each removed input channel contributed to sums, per unit of weight; zero for channels that stay."""
    return np.where(gone & inputs.constant, inputs.low - zero_point, 0)


def _outputs(op: W, weights: Any, folded: Int64, stays: Bool) -> W:
    """The op with the output channels that stay; `folded` is added to the bias, wrapping as sums do."""
    bias: Int32 = (op.bias + folded).astype(np.int32)
    requant = replace(op.requant, multiplier=op.requant.multiplier[stays], shift=op.requant.shift[stays])
    return replace(op, weights=weights, weight_scale=op.weight_scale[stays], bias=bias[stays], requant=requant)


def _conv(graph: Graph, op: Conv2D, kept: Masks, ranges: dict[int, Range]) -> Conv2D:
    source, stays = op.inputs[0], kept[op.output]
    taps = reach(op.window, graph.tensors[source].shape, op.out_shape)
    channels, height, width, depth = op.weights.shape
    offsets = taps.inside[:, None] * _offsets(ranges[source], ~kept[source], op.input_zero_point)
    folded = (op.weights.reshape(channels, height * width, depth) * offsets).sum(axis=(1, 2))
    slim = _outputs(op, op.weights[stays][..., kept[source]], folded, stays)
    return replace(slim, out_shape=(*op.out_shape[:2], int(stays.sum())))


def _fully_connected(graph: Graph, op: FullyConnected, kept: Masks, ranges: dict[int, Range]) -> FullyConnected:
    source, stays = op.inputs[0], kept[op.output]
    vector = np.resize(kept[source], graph.tensors[source].size).reshape(op.rows, -1)[0]
    offsets = _offsets(input_vector(graph, op, ranges), ~vector, op.input_zero_point)
    return _outputs(op, op.weights[stays][:, vector], (op.weights * offsets).sum(axis=1), stays)


def _depthwise(graph: Graph, op: DepthwiseConv2D, kept: Masks, ranges: dict[int, Range]) -> DepthwiseConv2D:
    stays = kept[op.output]
    slim = _outputs(op, op.weights[..., stays], np.zeros(stays.size, dtype=np.int64), stays)
    return replace(slim, out_shape=(*op.out_shape[:2], int(stays.sum())))


def _pool(graph: Graph, op: Pool2D, kept: Masks, ranges: dict[int, Range]) -> Pool2D:
    return replace(op, out_shape=(*op.out_shape[:2], int(kept[op.output].sum())))


_REWRITES: dict[type[Op], Callable[[Graph, Any, Masks, dict[int, Range]], Op]] = {
    Conv2D: _conv,
    FullyConnected: _fully_connected,
    DepthwiseConv2D: _depthwise,
    Pool2D: _pool,
}
