"""How each op of a graph is bounded: one rule per op, each of which gives a stage.

An op of the graph without a rule becomes `Unbounded`: nothing is known of its outputs but that they are int8. All ops
of `tritguard.graph.model` have a rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tritguard.certify import lengths, maps, softmax
from tritguard.certify.box import Box
from tritguard.certify.maps import MAPS
from tritguard.certify.pairs import bounds_of_pair, sums_of_products
from tritguard.certify.sliding import Sliding
from tritguard.certify.stages import Bounded, Boxes, Largest, Moved, Stage, Sums, Tabled, Unbounded
from tritguard.certify.steps import Averaging, Requantisation
from tritguard.certify.tabled import Tables
from tritguard.certify.terms import Scaled, Summed
from tritguard.errors import BadInputError
from tritguard.graph.arithmetic.fixed_point import INT8_MAX, INT8_MIN
from tritguard.graph.arithmetic.reference import elementwise
from tritguard.graph.arithmetic.tables import pairs
from tritguard.graph.model import (
    RESIZE_ONE,
    Add,
    BatchMatMul,
    Binary,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Gather,
    Graph,
    Int8,
    Int64,
    L2Normalization,
    LogSoftmax,
    Lookup,
    Mean,
    MirrorPad,
    Op,
    Pad,
    Pool2D,
    Quantize,
    Reduce,
    Requant,
    Reshape,
    ResizeBilinear,
    ResizeNearest,
    Softmax,
    TransposeConv,
    View,
    as_image,
    strided_places,
)

_ZERO = np.zeros((), np.int64)


def stages_of(graph: Graph) -> tuple[Stage, ...]:
    """The stages of a graph's ops, in its order; the outputs of an op without a rule may be any int8 value.

    Raises:
        BadInputError: the model has several inputs or outputs, keeps state, or has activations of 16 bits.
    """
    if graph.states:
        raise BadInputError("the model keeps state between inferences; bounds need one without")
    if graph.further_inputs or graph.further_outputs:
        raise BadInputError(
            f"the model has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; bounds need one of each"
        )
    if any(tensor.width > 1 for tensor in graph.tensors.values()):
        raise BadInputError("the model has activations of 16 bits; bounds need int8")
    return tuple(RULES.get(type(op), _unknown)(graph, op) for op in graph.ops)


def _about(graph: Graph, op: Op) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
    return op.inputs, op.output, graph.tensors[op.output].shape


def _unknown(graph: Graph, op: Op) -> Stage:
    about = _about(graph, op)
    return Unbounded(*about, lambda boxes: _anything(len(boxes[op.inputs[0]].low), about[2], INT8_MIN, INT8_MAX))


def _weighted(graph: Graph, op: Conv2D | DepthwiseConv2D | FullyConnected | TransposeConv) -> Stage:
    weights = MAPS[type(op)](op, graph.tensors)
    term, bias = Summed(op.inputs[0], op.input_zero_point, weights), op.bias.astype(np.int64)
    return Sums(*_about(graph, op), (term,), bias, Requantisation(op.requant), weights.out_shape)


def _mean(graph: Graph, op: Mean) -> Stage:
    """The sum over all positions, requantised; its division is part of the multiplier."""
    weights = maps.mean(op, graph.tensors)
    term = Summed(op.inputs[0], op.input_zero_point, weights)
    return Sums(*_about(graph, op), (term,), _ZERO, Requantisation(op.requant), weights.out_shape)


def _reduce(graph: Graph, op: Reduce) -> Stage:
    """A sum or a mean over axes is a sum, requantised. A maximum and a minimum rise with every element: the ends of
    the elements' boxes give those of the result, which is not requantised.
    """
    about, places = _about(graph, op), op.places
    if op.function in ("SUM", "MEAN"):
        weights = maps.PlacesMap(places, graph.tensors[op.inputs[0]].shape)
        term = Summed(op.inputs[0], op.input_zero_point, weights)
        return Sums(*about, (term,), _ZERO, Requantisation(op.requant), weights.out_shape)
    if op.function == "REDUCE_MAX":
        return Largest(*about, places.T, INT8_MIN, INT8_MAX)

    def least(boxes: Boxes) -> Box:
        box = boxes[op.inputs[0]]
        return Box(*(end.reshape(len(end), -1)[:, places].min(axis=2) for end in (box.low, box.high)))

    return Bounded(*about, least)


def _pool(graph: Graph, op: Pool2D) -> Stage:
    about = _about(graph, op)
    if op.mode == "average":
        term = Summed(op.inputs[0], 0, maps.average(op, graph.tensors))
        steps = Averaging(maps.counts(op, graph.tensors), op.act_min, op.act_max)
        return Sums(*about, (term,), _ZERO, steps, about[2])
    source = graph.tensors[op.inputs[0]].shape
    numbered = np.arange(1, graph.tensors[op.inputs[0]].size + 1, dtype=np.float64).reshape(1, *source)
    sliding = Sliding(op.window, source, op.out_shape)
    padded = sliding.padded(numbered)
    seen = np.stack([padded[place].ravel() for place in sliding.taps()])
    return Largest(*about, seen.astype(np.int64) - 1, op.act_min, op.act_max)


def _bilinear(graph: Graph, op: ResizeBilinear) -> Stage:
    """A weighted sum of input pixels, whose weights add up to 2^20, divided by that and rounded like an average.

    Weights are not negative once those of the same pixel are added up: above the image both rows are the same one.
    """
    about, source = _about(graph, op), graph.tensors[op.inputs[0]].shape
    weights = maps.SeparableMap(_between(op.rows, source[0]), _between(op.columns, source[1]), source[2])
    steps = Averaging(np.full(about[2], RESIZE_ONE * RESIZE_ONE), INT8_MIN, INT8_MAX)
    return Sums(*about, (Summed(op.inputs[0], 0, weights),), _ZERO, steps, about[2])


def _between(axis: tuple[tuple[int, int, int], ...], size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """float64[out, in]: the weights of one axis in 1024ths."""
    weights = np.zeros((len(axis), size))
    for at, (first, second, share) in enumerate(axis):
        weights[at, first] += RESIZE_ONE - share
        weights[at, second] += share
    return weights


def _batch_matmul(graph: Graph, op: BatchMatMul) -> Stage:
    """Requantised sums of products: a linear map with a constant matrix, otherwise bounded term by term."""
    about, places = _about(graph, op), (op.places(0), op.places(1))
    steps = Requantisation(op.requant)
    for mine, other in ((0, 1), (1, 0)):
        constant = op.constants[other]
        if constant is not None:
            matrix = constant.values.astype(np.float64)[places[other]] - op.zero_points[other]
            weights = maps.ProductMap(places[mine], matrix, graph.tensors[op.inputs[0]].shape, turned=mine == 1)
            term = Summed(op.inputs[0], op.zero_points[mine], weights)
            return Sums(*about, (term,), _ZERO, steps, weights.out_shape)
    return Bounded(*about, lambda boxes: steps.bounds(sums_of_products(op, *_operands(op, boxes, places))))


def _add(graph: Graph, op: Add) -> Stage:
    places = np.arange(graph.tensors[op.output].size)
    return _sum_of_two(graph, op, (places, places), op.input_zero_points, op.input_requants, 1)


def _sum_of_two(
    graph: Graph, op: Add | Binary, places: tuple[Int64, Int64], zero_points: tuple[int, int],
    requants: tuple[Requant, Requant], sign: int,
) -> Stage:  # fmt: skip
    about = _about(graph, op)
    terms = tuple(
        Scaled(tensor, zero_point, requant, op.left_shift, each, at, graph.tensors[tensor].shape)
        for tensor, zero_point, requant, each, at in zip(
            op.inputs, zero_points, requants, (1, sign), (at.reshape(about[2]) for at in places), strict=True
        )
    )
    if not all(term.fits for term in terms):
        clamp = op.requant.act_min, op.requant.act_max
        return Bounded(*about, lambda boxes: _anything(len(boxes[op.inputs[0]].low), about[2], *clamp))
    return Sums(*about, terms, _ZERO, Requantisation(op.requant), about[2])


def _anything(n: int, shape: tuple[int, ...], low: int, high: int) -> Box:
    return Box(np.full((n, *shape), low, np.int64), np.full((n, *shape), high, np.int64))


def _elementwise(graph: Graph, op: Quantize | Lookup) -> Stage:
    return Tabled(*_about(graph, op), Tables.of(elementwise(op)[None]), _ZERO)


def _binary(graph: Graph, op: Binary) -> Stage:
    """A table for each value of a constant operand, if there is one; otherwise a sum, or bounds of the pair."""
    about = _about(graph, op)
    first, second = (strided_places(tuple(zip(op.sizes, steps, strict=True))).reshape(about[2]) for steps in op.steps)
    places = (first, second)
    for mine, other in ((0, 1), (1, 0)):
        constant = op.constants[other]
        if constant is not None:
            distinct, number = np.unique(constant.values, return_inverse=True)
            every = np.arange(INT8_MIN, INT8_MAX + 1)
            operands = (every, distinct.astype(np.int64)[:, None])
            values = pairs(op, *(operands if mine == 0 else operands[::-1])).astype(np.int8)
            return Tabled(*about, Tables.of(values), number.ravel()[places[other]], places[mine])
    if op.operator in ("ADD", "SUB"):
        assert op.operand_requants is not None
        sign = 1 if op.operator == "ADD" else -1
        return _sum_of_two(graph, op, places, op.zero_points, op.operand_requants, sign)
    return Bounded(*about, lambda boxes: bounds_of_pair(op, *_operands(op, boxes, places)))


def _operands(op: Binary | BatchMatMul, boxes: Boxes, places: tuple[Int64, Int64]) -> tuple[Box, Box]:
    """The distances of two activations' elements from their zero points, in the order of the op."""
    first, second = (
        Box(*(bound.reshape(len(bound), -1)[:, at] - zero_point for bound in (boxes[tensor].low, boxes[tensor].high)))
        for tensor, at, zero_point in zip(op.inputs, places, op.zero_points, strict=True)
    )
    return first, second


def _softmax(graph: Graph, op: Softmax) -> Stage:
    table = softmax.exponentials(op)
    return Bounded(*_about(graph, op), lambda boxes: softmax.bounds(op, table, boxes[op.inputs[0]]))


def _log_softmax(graph: Graph, op: LogSoftmax) -> Stage:
    scale = graph.tensors[op.inputs[0]].scale
    return Bounded(*_about(graph, op), lambda boxes: softmax.log_bounds(op, scale, boxes[op.inputs[0]]))


def _l2_normalization(graph: Graph, op: L2Normalization) -> Stage:
    return Bounded(*_about(graph, op), lambda boxes: lengths.bounds(op, boxes[op.inputs[0]]))


def _moved(arrange: Callable[..., Int64]) -> Callable[[Graph, Any], Stage]:
    """A stage that moves elements as `arrange` moves their numbers, int64 arrays of the inputs' shapes.

    What an output can be is what the element it takes can be: nothing is computed, and nothing is lost.
    """

    def stage(graph: Graph, op: Any) -> Stage:
        shapes = [graph.tensors[tensor].shape for tensor in op.inputs]
        starts = np.cumsum([0, *(graph.tensors[tensor].size for tensor in op.inputs)])
        numbered = [
            (np.arange(size) + start).reshape(shape)
            for size, start, shape in zip(np.diff(starts), starts[:-1], shapes, strict=True)
        ]
        return Moved(*_about(graph, op), arrange(op, *numbered).ravel(), getattr(op, "value", 0))

    return stage


def _join(op: Concatenation, *parts: Int8 | Int64) -> Int64:
    return np.concatenate([np.asarray(part, np.int64).reshape(op.rows, -1) for part in parts], axis=1)


def _padded(op: Pad, x: Int64) -> Int64:
    around = list(zip(op.before, op.after, strict=True))
    return np.pad(x.reshape(as_image(x.shape)), around, constant_values=-1)


RULES: dict[type[Op], Callable[[Graph, Any], Stage]] = {
    Conv2D: _weighted,
    DepthwiseConv2D: _weighted,
    FullyConnected: _weighted,
    TransposeConv: _weighted,
    BatchMatMul: _batch_matmul,
    Mean: _mean,
    Reduce: _reduce,
    Pool2D: _pool,
    ResizeBilinear: _bilinear,
    Add: _add,
    Binary: _binary,
    Quantize: _elementwise,
    Lookup: _elementwise,
    Softmax: _softmax,
    LogSoftmax: _log_softmax,
    L2Normalization: _l2_normalization,
    Pad: _moved(_padded),
    View: _moved(lambda op, x: x.ravel()[op.places]),
    Concatenation: _moved(_join),
    Reshape: _moved(lambda _op, x: x),
    Gather: _moved(lambda op, x: x.reshape(op.rows, op.side, op.width)[:, list(op.indices)]),
    MirrorPad: _moved(lambda op, x: x[np.ix_(op.rows, op.columns, op.depths)]),
    ResizeNearest: _moved(lambda op, x: x[np.ix_(op.rows, op.columns)]),
}
