"""Layers that take far more instructions a multiply-accumulate than the best ones of their kind, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tritguard.boards import CoreClass
from tritguard.graph.emission import Emission
from tritguard.graph.formats.cost import TILE, shape_of
from tritguard.graph.formats.kernel import Kernel
from tritguard.graph.model import Conv2D, DepthwiseConv2D, FullyConnected, Graph, Weighted

FAR = 1.5
"""How many times the best layer's instructions a multiply-accumulate are far from it."""

# Instructions a multiply-accumulate of int8 layers that suit their kernels: the nets of one kind that
# `scripts/bench count` has (conv-3x3, depthwise-3x3, conv-of-one-pixel), on a board of each class.
_BEST: Mapping[CoreClass, Mapping[type[Weighted], float]] = {
    "m0": {Conv2D: 4.2, DepthwiseConv2D: 15.7, FullyConnected: 4.04},
    "m3": {Conv2D: 2.08, DepthwiseConv2D: 9.23, FullyConnected: 2.7},
    "m4": {Conv2D: 0.926, DepthwiseConv2D: 2.84, FullyConnected: 1.43},
    "m55": {Conv2D: 0.223, DepthwiseConv2D: 1.94, FullyConnected: 0.774},
}
_SHORT = 48  # positions of a window, below which what an output costs besides its products shows
_FEW = 4 * TILE  # pixels, below which a last tile's missing ones show
_TAPS = 9  # positions of a depthwise window, below which it is the same
_NARROW = 8  # outputs of a row of a depthwise layer, below which its ends show


def far_layers(emission: Emission, instructions: Mapping[int, int]) -> dict[int, str]:
    """Which layers are far from the best ones of their kind, and why.

    Args:
        emission: the model for its class of cores.
        instructions: of one inference, by the layer's index.

    Returns:
        By the layer's index a line such as "2.5 times the best convolution's 0.93 a MAC: windows of 8 positions".
    """
    found = {}
    for position, op in enumerate(emission.graph.ops):
        best = _BEST[emission.core].get(type(op)) if isinstance(op, Weighted) else None
        if best is None or not isinstance(op, Weighted) or op.index not in instructions or not op.macs:
            continue
        ratio = instructions[op.index] / op.macs / best
        if ratio > FAR:
            why = ", ".join(_reasons(emission.graph, op, emission.kernels[position])) or "its kernel"
            found[op.index] = (
                f"{ratio:.1f} times the {best:.2g} instructions a MAC of the best {_NAMES[type(op)]}: {why}"
            )
    return found


_NAMES = {Conv2D: "convolution", DepthwiseConv2D: "depthwise layer", FullyConnected: "dense layer"}


def _reasons(graph: Graph, op: Weighted, kernel: Kernel) -> Iterator[str]:
    shape = shape_of(op)
    if isinstance(op, DepthwiseConv2D):
        yield from _of_depthwise(op, kernel)
    elif shape.positions < _SHORT:
        yield f"an output costs more than the products of its window, {shape.positions} positions"
    if isinstance(op, Conv2D) and shape.pixels < _FEW and shape.pixels % TILE:
        yield f"{shape.pixels} pixels, in tiles of {TILE}"
    if isinstance(op, Conv2D) and graph.tensors[op.inputs[0]].shape[2] % 4:
        yield "input channels are no multiple of 4"
    if isinstance(op, FullyConnected) and shape.channels % 4:
        yield f"{shape.channels} units, no multiple of 4"
    if kernel.weight_format != "int8":
        yield f"weights are {kernel.weight_format}, which is smaller"


def _of_depthwise(op: DepthwiseConv2D, kernel: Kernel) -> Iterator[str]:
    positions = shape_of(op).positions
    if positions < _TAPS:
        yield f"windows of {positions} positions"
    if max(op.window.stride) > 1:
        yield f"a stride of {max(op.window.stride)}"
    if max(op.window.dilation) > 1:
        yield "dilated windows"
    if max(op.out_shape[:2]) < _NARROW:
        yield f"{op.out_shape[0]} x {op.out_shape[1]} outputs"
    if kernel.function == "tg_depthwise_int8":
        yield "no kernel for its stride, clamp or sums in particular"
