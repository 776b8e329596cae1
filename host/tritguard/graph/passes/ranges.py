"""Interval analysis: the int8 values that each channel of each activation can take, whatever the input.

A channel is an index of a tensor's last axis; its interval holds at every position. Intervals are pushed through
each op in exact integers: requantisation is monotone as long as no 32-bit sum wraps, so the ends of an interval map
to the ends of the next. Where a sum might wrap, and for ops without a rule, a channel may be anything its clamp
allows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.graph.arithmetic import fixed_point
from tritguard.graph.arithmetic.fixed_point import INT8_MAX, INT8_MIN
from tritguard.graph.model import (
    Add,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    Int64,
    Lookup,
    Mean,
    Op,
    Pad,
    Pool2D,
    Quantize,
    Requant,
    Reshape,
    Window,
)

Bool = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Range:
    """Inclusive bounds, int64[channels] or with further axes before it."""

    low: Int64
    high: Int64

    @property
    def constant(self) -> Bool:
        """bool[channels]: the channel has one value for every input and at every position."""
        return np.asarray(self.low == self.high)

    def relaid(self, size: int, channels: int) -> Range:
        """The same elements, `size` in all, with a last axis of another length."""
        low, high = (np.resize(bound, size).reshape(-1, channels) for bound in (self.low, self.high))
        return Range(low.min(axis=0), high.max(axis=0))


@dataclass(frozen=True, eq=False)
class Reach:
    """Where the taps of a window fall over all its positions, as bool[taps], row by row."""

    inside: Bool  # at some position the tap reads the input
    outside: Bool  # at some position it reads padding, which is the zero point


def reach(window: Window, source: tuple[int, ...], sink: tuple[int, ...]) -> Reach:
    """The reach of a window from source to sink, both given as (height, width, channels)."""
    rows, columns = (_side(window, axis, source[axis], sink[axis]) for axis in range(2))
    inside = np.logical_and.outer(rows.inside, columns.inside)
    outside = np.logical_or.outer(rows.outside, columns.outside)
    return Reach(inside.ravel(), outside.ravel())


def _side(window: Window, axis: int, size: int, positions: int) -> Reach:
    taps = np.arange(window.kernel[axis])[:, None] * window.dilation[axis]
    at = np.arange(positions)[None] * window.stride[axis] - window.padding[axis] + taps
    within = (at >= 0) & (at < size)
    return Reach(np.any(within, axis=1), np.any(~within, axis=1))


def channel_ranges(graph: Graph) -> dict[int, Range]:
    """The range of every activation in the graph; that of an input or a state is all of int8."""
    ranges = {tensor: _anything(graph.tensors[tensor].shape[-1]) for tensor in graph.given}
    for op in graph.ops:
        rule = _RULES.get(type(op))
        channels = graph.tensors[op.output].shape[-1]
        ranges[op.output] = rule(graph, op, ranges) if rule else _anything(channels)
    return ranges


def input_vector(graph: Graph, op: FullyConnected, ranges: dict[int, Range]) -> Range:
    """The range of the vector that a dense layer multiplies, which need not be the last axis of its input."""
    return ranges[op.inputs[0]].relaid(graph.tensors[op.inputs[0]].size, op.weights.shape[1])


def _anything(channels: int) -> Range:
    return Range(np.full(channels, INT8_MIN, dtype=np.int64), np.full(channels, INT8_MAX, dtype=np.int64))


def requantised(low: Int64, high: Int64, requant: Requant) -> Range:
    """Bounds of int8 from bounds of accumulators, int64[..., channels]; where a sum might wrap, all of the clamp."""
    limit = np.int64(1) << 31
    left = np.maximum(requant.shift, 0).astype(np.int64)
    fits = (low << left >= -limit) & (high << left < limit)
    ends = [
        fixed_point.multiply(np.where(fits, end, 0), requant.multiplier, requant.shift) + requant.zero_point
        for end in (low, high)
    ]
    fits &= (ends[0] >= -limit) & (ends[1] < limit)
    bounds = [np.clip(end, requant.act_min, requant.act_max) for end in ends]
    return Range(np.where(fits, bounds[0], requant.act_min), np.where(fits, bounds[1], requant.act_max))


def _summed(weights: Int64, inputs: Range, axes: tuple[int, ...]) -> tuple[Int64, Int64]:
    """Bounds of sum (weights * inputs) over axes."""
    low, high = weights * inputs.low, weights * inputs.high
    return np.minimum(low, high).sum(axis=axes), np.maximum(low, high).sum(axis=axes)


def _seen(inputs: Range, zero_point: int, taps: Reach) -> Range:
    """int64[taps, channels]: the range that each tap sees, minus the zero point; padding counts as zero."""
    low, high = inputs.low - zero_point, inputs.high - zero_point
    inside, outside = taps.inside[:, None], taps.outside[:, None]
    return Range(
        np.where(inside, np.where(outside, np.minimum(low, 0), low), 0),
        np.where(inside, np.where(outside, np.maximum(high, 0), high), 0),
    )


def _conv(graph: Graph, op: Conv2D, ranges: dict[int, Range]) -> Range:
    taps = reach(op.window, graph.tensors[op.inputs[0]].shape, op.out_shape)
    seen = _seen(ranges[op.inputs[0]], op.input_zero_point, taps)
    channels, depth = op.weights.shape[0], op.weights.shape[3]
    low, high = _summed(op.weights.reshape(channels, -1, depth).astype(np.int64), seen, (1, 2))
    return requantised(low + op.bias, high + op.bias, op.requant)


def _depthwise(graph: Graph, op: DepthwiseConv2D, ranges: dict[int, Range]) -> Range:
    taps = reach(op.window, graph.tensors[op.inputs[0]].shape, op.out_shape)
    source = ranges[op.inputs[0]]
    repeated = Range(np.repeat(source.low, op.depth_multiplier), np.repeat(source.high, op.depth_multiplier))
    seen = _seen(repeated, op.input_zero_point, taps)
    low, high = _summed(op.weights.reshape(-1, op.weights.shape[2]).astype(np.int64), seen, (0,))
    return requantised(low + op.bias, high + op.bias, op.requant)


def _fully_connected(graph: Graph, op: FullyConnected, ranges: dict[int, Range]) -> Range:
    vector = input_vector(graph, op, ranges)
    seen = Range(vector.low - op.input_zero_point, vector.high - op.input_zero_point)
    low, high = _summed(op.weights.astype(np.int64), seen, (1,))
    return requantised(low + op.bias, high + op.bias, op.requant)


def _add(graph: Graph, op: Add, ranges: dict[int, Range]) -> Range:
    def scaled(bounds: tuple[Int64, Int64]) -> Int64:
        return np.add(*(
            fixed_point.multiply((bound - zero_point) << op.left_shift, requant.multiplier, requant.shift)
            for bound, zero_point, requant in zip(bounds, op.input_zero_points, op.input_requants, strict=True)
        ))  # fmt: skip

    first, second = (ranges[tensor] for tensor in op.inputs)
    return requantised(scaled((first.low, second.low)), scaled((first.high, second.high)), op.requant)


def _quantize(graph: Graph, op: Quantize, ranges: dict[int, Range]) -> Range:
    source = ranges[op.inputs[0]]
    return requantised(source.low - op.input_zero_point, source.high - op.input_zero_point, op.requant)


def _lookup(graph: Graph, op: Lookup, ranges: dict[int, Range]) -> Range:
    source = ranges[op.inputs[0]]
    spans = [op.table[low - INT8_MIN : high - INT8_MIN + 1] for low, high in zip(source.low, source.high, strict=True)]
    return Range(np.array([span.min() for span in spans], np.int64), np.array([span.max() for span in spans], np.int64))


def _mean(graph: Graph, op: Mean, ranges: dict[int, Range]) -> Range:
    source, sink = ranges[op.inputs[0]], graph.tensors[op.output]
    low, high = ((bound - op.input_zero_point) * op.positions for bound in (source.low, source.high))
    return requantised(low, high, op.requant).relaid(sink.size, sink.shape[-1])


def _pool(graph: Graph, op: Pool2D, ranges: dict[int, Range]) -> Range:
    source = ranges[op.inputs[0]]
    return Range(np.clip(source.low, op.act_min, op.act_max), np.clip(source.high, op.act_min, op.act_max))


def _pad(graph: Graph, op: Pad, ranges: dict[int, Range]) -> Range:
    source = ranges[op.inputs[0]]
    low, high = source.low, source.high
    if any((*op.before[:2], *op.after[:2])):
        low, high = np.minimum(low, op.value), np.maximum(high, op.value)
    around = (op.before[2], op.after[2])
    return Range(*(np.pad(bound, around, constant_values=op.value) for bound in (low, high)))


def _reshape(graph: Graph, op: Reshape, ranges: dict[int, Range]) -> Range:
    sink = graph.tensors[op.output]
    return ranges[op.inputs[0]].relaid(sink.size, sink.shape[-1])


_RULES: dict[type[Op], Callable[[Graph, Any, dict[int, Range]], Range]] = {
    Conv2D: _conv,
    DepthwiseConv2D: _depthwise,
    FullyConnected: _fully_connected,
    Add: _add,
    Quantize: _quantize,
    Lookup: _lookup,
    Mean: _mean,
    Pool2D: _pool,
    Pad: _pad,
    Reshape: _reshape,
}
