"""Layers that take far more instructions per multiply-accumulate than the best ones of their kind, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tritguard.boards import CoreClass
from tritguard.graph.emission import Emission
from tritguard.graph.formats.cost import TILE, shape_of
from tritguard.graph.formats.kernel import Kernel
from tritguard.graph.formats.registry import Site, code_bytes, kernels_of
from tritguard.graph.model import Conv2D, DepthwiseConv2D, FullyConnected, Graph, Weighted

FAR = 1.5
"""A layer is far from the best one if it takes more than this multiple of its instructions per multiply-accumulate."""

# Instructions per multiply-accumulate of int8 layers that suit their kernels: the nets with one kind of layer that
# `scripts/bench count` has (conv-3x3, depthwise-3x3, conv-of-one-pixel), on a board of each class.
_BEST: Mapping[CoreClass, Mapping[type[Weighted], float]] = {
    "m0": {Conv2D: 4.2, DepthwiseConv2D: 13.3, FullyConnected: 4.04},
    "m3": {Conv2D: 2.08, DepthwiseConv2D: 5.69, FullyConnected: 2.7},
    "m4": {Conv2D: 0.926, DepthwiseConv2D: 2.84, FullyConnected: 1.43},
    "m55": {Conv2D: 0.223, DepthwiseConv2D: 1.94, FullyConnected: 0.774},
}
# Instructions of such layers for an output and for each of its products, with what surrounds them (docs/measuring.md).
_COUNTS: Mapping[CoreClass, Mapping[type[Weighted], tuple[float, float]]] = {
    "m0": {Conv2D: (95, 3.6), DepthwiseConv2D: (67, 5.6), FullyConnected: (112, 3.6)},
    "m3": {Conv2D: (40, 1.87), DepthwiseConv2D: (15, 3.8), FullyConnected: (53, 2.49)},
    "m4": {Conv2D: (13, 0.826), DepthwiseConv2D: (16, 1.25), FullyConnected: (40, 1.25)},
    "m55": {Conv2D: (12, 0.14), DepthwiseConv2D: (5, 1.1), FullyConnected: (18, 0.7)},
}
_FASTER = 0.8  # share of a kernel's expected instructions, below which another kernel that was not linked is named
_SHORT = 48  # positions of a window, below which the cost of an output besides its products shows
_FEW = 4 * TILE  # pixels, below which those that the last tile lacks show
_TAPS = 9  # positions of a depthwise window, below which the cost of an output shows
_NARROW = 8  # outputs of a depthwise layer's row, below which the cost of its ends shows


def far_layers(emission: Emission, instructions: Mapping[int, int]) -> dict[int, str]:
    """Find the layers that are far from the best ones of their kind, and say why.

    Args:
        emission: the model for its class of cores.
        instructions: those of one inference, by the layer's index.

    Returns:
        By the layer's index a line such as "2.8 times the 0.93 instructions a MAC of the best convolution, 1.1 times
        what outputs of 8 products take at best: an output costs more than the products of its window, 8 positions".
        The second figure leaves out what the layer's shape explains.
    """
    found = {}
    for position, op in enumerate(emission.graph.ops):
        if not isinstance(op, Weighted) or type(op) not in _NAMES or op.index not in instructions or not op.macs:
            continue
        kernel = emission.kernels[position]
        kind = FullyConnected if kernel.function == "tg_dense_int8" else type(op)  # each weight is used once
        best = _BEST[emission.core][kind]
        ratio = instructions[op.index] / op.macs / best
        if ratio > FAR:
            why = ", ".join([*_reasons(emission.graph, op, kernel), *_faster(emission, op, kernel)]) or "its kernel"
            found[op.index] = (
                f"{ratio:.1f} times the {best:.2g} instructions a MAC of the best {_NAMES[kind]}, "
                f"{instructions[op.index] / _at_best(emission.core, op, kind):.1f} times what outputs of "
                f"{shape_of(op).positions} products take at best: {why}"
            )
    return found


_NAMES = {Conv2D: "convolution", DepthwiseConv2D: "depthwise layer", FullyConnected: "dense layer"}


def _at_best(core: CoreClass, op: Weighted, kind: type[Weighted]) -> float:
    """The instructions that as many outputs and products take in a layer that suits its kernel."""
    output, product = _COUNTS[core][kind]
    shape = shape_of(op)
    return shape.pixels * shape.channels * output + op.macs * product


def _faster(emission: Emission, op: Weighted, kernel: Kernel) -> Iterator[str]:
    """An int8 kernel that would be faster, whose code would cost more flash than it is worth."""
    if kernel.weight_format != "int8":
        return
    linked = {source for each in emission.kernels.values() for source in each.sources}
    offers = [
        each
        for each in kernels_of(Site(emission.graph, op, emission.core, None, 0))
        if each.function != kernel.function
    ]
    best = min(offers, key=lambda each: each.cost.instructions, default=kernel)
    share = best.cost.instructions / kernel.cost.instructions
    flash = sum(code_bytes(source) for source in {*best.sources} - linked)
    if share < _FASTER and flash:
        yield f"{best.function} would take {share:.0%} of it, for {flash:,} bytes of code"


def _reasons(graph: Graph, op: Weighted, kernel: Kernel) -> Iterator[str]:
    shape = shape_of(op)
    if isinstance(op, DepthwiseConv2D):
        yield from _of_depthwise(op, kernel)
    elif shape.positions < _SHORT:
        yield f"an output costs more than the products of its window, {shape.positions} positions"
    if isinstance(op, Conv2D) and shape.pixels < _FEW and shape.pixels % TILE and kernel.function != "tg_dense_int8":
        yield f"{shape.pixels} pixel{'s' * (shape.pixels > 1)}, in tiles of {TILE}"
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
