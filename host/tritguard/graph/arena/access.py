"""The order in which kernels read and write, which says how far an output may overlap an input that dies there.

A kernel's promise stands here as data, a `Trace`, and in words next to its declaration in
`firmware/kernels/tg_kernels.h`. The tests keep the two together: they run every kernel with its output as close to its
input as the promise allows.

An output that starts `lead` bytes before its input is safe if no step's write reaches a byte that is read later:

    input          |x x x x x x x x x x x x|        step t reads from reads[t] on,
    output  |y y y y y y y y y y|                   writes up to before ends[t]
            <-lead->

    for all t:  ends[t] - lead <= reads[s]  for every later step s.

A kernel that reads all of a step's input before it writes any of the step's output stays safe when its steps are
joined into longer ones, so the width of a pixel tile does not matter: one pixel per step is the strictest case.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tritguard.graph.formats.kernel import Order
from tritguard.graph.model import (
    Add,
    Binary,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    Int64,
    L2Normalization,
    LogSoftmax,
    Lookup,
    Mean,
    Op,
    Pool2D,
    Quantize,
    Softmax,
    Weighted,
    Window,
)
from tritguard.graph.wide import WideBinary, WideCurve, WideQuantize, WideSlopes, WideSoftmax


@dataclass(frozen=True, eq=False)
class Trace:
    """What a kernel touches, step by step, in bytes from the start of its input and of its output.

    Attributes:
        reads: int64[steps], the lowest byte that each step reads.
        ends: int64[steps], one past the highest byte that has been written when the step ends.
        reads_first: whether each step reads all it needs before it writes.
    """

    reads: Int64
    ends: Int64
    reads_first: bool

    @property
    def lead(self) -> int:
        """The least number of bytes by which the output must start before the input."""
        later = np.minimum.accumulate(self.reads[::-1])[::-1]
        if self.reads_first:
            return max(0, int((self.ends[:-1] - later[1:]).max(initial=0)))
        return max(0, int((self.ends - later).max(initial=0)))


def lead(graph: Graph, op: Op, tensor: int, order: Order) -> int | None:
    """The bytes by which an op's output must start before its input `tensor`; None if the two must not overlap.

    Args:
        graph: the graph that holds the op.
        op: the op that runs.
        tensor: one of its inputs.
        order: the order of its kernel; only matters for layers with weights.
    """
    trace = trace_of(graph, op, tensor, order)
    if trace is None or trace.lead >= graph.tensors[op.output].bytes:
        return None
    return trace.lead


def trace_of(graph: Graph, op: Op, tensor: int, order: Order) -> Trace | None:
    """How an op walks over its input `tensor` and its output; None if nothing is promised. Arguments as for `lead`."""
    if isinstance(op, Binary | WideBinary) and not _walks_with_the_output(op, tensor):
        return None
    if isinstance(op, WideBinary | WideQuantize | WideSlopes | WideCurve | WideSoftmax):
        return _elementwise(graph.tensors[tensor].size, graph.tensors[tensor].width, graph.tensors[op.output].width)
    return _trace(op, graph.tensors[tensor].shape, graph.tensors[op.output].shape, order)


def _walks_with_the_output(op: Binary | WideBinary, tensor: int) -> bool:
    """Whether the operand is not broadcast, so that its steps are the output's."""
    activations = iter(op.inputs)
    steps = tuple(math.prod(op.sizes[axis + 1 :]) for axis in range(len(op.sizes)))
    operands = [None if constant is not None else next(activations) for constant in op.constants]
    return all(walk == steps for operand, walk in zip(operands, op.steps, strict=True) if operand == tensor)


def _trace(op: Op, source: tuple[int, ...], sink: tuple[int, ...], order: Order) -> Trace | None:
    match op:
        case Add() | Binary() | Quantize() | Lookup() | Softmax() | LogSoftmax() | L2Normalization() | Mean():
            return _elementwise(math.prod(sink))
        case Pool2D():
            return _windowed(op.window, _image(source), op.out_shape, reads_first=False)
        case Weighted() if order in (
            "any",
            "channels",
        ):  # kernels that work channel by channel share the slot of their input
            return None
        case FullyConnected():
            units, depth = op.weights.shape
            window = Window((1, 1), (1, 1), (1, 1), (0, 0))
            return _windowed(window, (1, op.rows, depth), (1, op.rows, units), reads_first=order == "tiles")
        case Conv2D() | DepthwiseConv2D():
            return _windowed(op.window, _image(source), op.out_shape, reads_first=order == "tiles")
        case _:
            return None


def _image(shape: tuple[int, ...]) -> tuple[int, int, int]:
    height, width, channels = shape
    return height, width, channels


def _elementwise(size: int, width: int = 1, out_width: int = 1) -> Trace:
    """Element i is read, then written, as in the last pass of a softmax and for the channels of a mean.

    Args:
        size: the number of elements.
        width, out_width: the bytes of an element of the input and of the output.
    """
    index = np.arange(size)
    return Trace(index * width, (index + 1) * out_width, reads_first=True)


def _windowed(window: Window, source: tuple[int, int, int], sink: tuple[int, int, int], *, reads_first: bool) -> Trace:
    """One output pixel per step, row by row from the top."""
    height, width, channels = source
    out_h, out_w, out_c = sink
    top = _first_inside(np.arange(out_h), window, 0, height)
    left = _first_inside(np.arange(out_w), window, 1, width)
    reads = ((top[:, None] * width + left[None, :]) * channels).ravel()
    ends = (np.arange(out_h * out_w) + 1) * out_c
    return Trace(reads, ends, reads_first)


def _first_inside(out: Int64, window: Window, axis: int, size: int) -> Int64:
    """The first input coordinate inside the input that each output coordinate's window covers."""
    origin = out * window.stride[axis] - window.padding[axis]
    dilation = window.dilation[axis]
    skipped = np.maximum(0, -(origin // dilation))  # ceil(-origin / dilation) taps lie before the input
    first: Int64 = np.minimum(origin + skipped * dilation, size)
    return first
