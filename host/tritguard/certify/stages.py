"""A graph's ops as bounds need them: five kinds of stages.

`Sums` are linear maps with a staircase behind them: convolutions, dense layers, means, average pools, additions.
`Tabled` is a function of one element, and a function of two whose second operand is a constant. `Moved` puts bytes
elsewhere. `Largest` is a maximum over windows. `Bounded` is everything of which only bounds are known.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from typing_extensions import override

from tritguard.certify import maps, softmax
from tritguard.certify.box import Box
from tritguard.certify.maps import MAPS
from tritguard.certify.steps import Averaging, Requantisation, Steps
from tritguard.certify.tabled import Tables
from tritguard.certify.terms import Scaled, Summed, Term
from tritguard.errors import BadInputError
from tritguard.graph.arithmetic.fixed_point import INT8_MAX, INT8_MIN
from tritguard.graph.arithmetic.reference import elementwise
from tritguard.graph.arithmetic.tables import pairs
from tritguard.graph.model import (
    Add,
    Binary,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    Int8,
    Int64,
    Lookup,
    Mean,
    MirrorPad,
    Op,
    Pad,
    Pool2D,
    Quantize,
    Requant,
    Reshape,
    ResizeNearest,
    Softmax,
    TransposeConv,
    View,
)

_ZERO = np.zeros((), np.int64)
Boxes = Mapping[int, Box]  # by tensor, of the tensors' shapes


@dataclass(frozen=True, eq=False)
class Stage(ABC):
    """One op.

    Attributes:
        inputs: the tensors it reads.
        output: the tensor it writes.
        shape: the output's shape.
    """

    inputs: tuple[int, ...]
    output: int
    shape: tuple[int, ...]

    @abstractmethod
    def bounds(self, boxes: Boxes) -> Box:
        """What the output can be, given what the inputs can be."""


@dataclass(frozen=True, eq=False)
class Sums(Stage):
    """Sums of terms and a bias, with a staircase behind them.

    Attributes:
        terms: each gives sums of the shape `summed`.
        bias: int64, broadcasts to `summed`.
        steps: the staircase.
        summed: the output's shape as the terms have it.
    """

    terms: tuple[Term, ...]
    bias: Int64
    steps: Steps
    summed: tuple[int, ...]

    def sums(self, boxes: Boxes) -> Box:
        """What the sums can be: boxes of int64[n, *summed], in exact integers."""
        parts = [term.ends(boxes[term.tensor]) for term in self.terms]
        low, high = sum(part.low for part in parts), sum(part.high for part in parts)
        return Box(low + self.bias, high + self.bias)

    def stepped(self, sums: Box) -> Box:
        """What the output can be, given what the sums can be."""
        return self.steps.bounds(sums).shaped(self.shape)

    @override
    def bounds(self, boxes: Boxes) -> Box:
        return self.stepped(self.sums(boxes))

    @property
    def cost(self) -> int:
        """Multiply-accumulates of one row."""
        return sum(term.map.cost for term in self.terms)


@dataclass(frozen=True, eq=False)
class Tabled(Stage):
    """A table of each element.

    Attributes:
        tables: the tables.
        which: int64, the table of each output element; broadcasts to the output.
        places: int64[*shape], the element of the flat input that each output takes; None: the same one.
    """

    tables: Tables
    which: Int64
    places: Int64 | None = None

    def source(self, boxes: Boxes) -> Box:
        """The boxes of the elements that the tables are read with, of the output's shape."""
        box = boxes[self.inputs[0]]
        if self.places is None:
            return box.shaped(self.shape)
        return Box(*(bound.reshape(len(bound), -1)[:, self.places] for bound in (box.low, box.high)))

    @override
    def bounds(self, boxes: Boxes) -> Box:
        return self.tables.bounds(self.which, self.source(boxes))


@dataclass(frozen=True, eq=False)
class Moved(Stage):
    """Elements of the inputs, joined one after the other, in another order; some outputs may be a constant.

    Attributes:
        places: int64[output size], the place of each output's element; -1 for the constant.
        value: the constant.
    """

    places: Int64
    value: int = 0

    @override
    def bounds(self, boxes: Boxes) -> Box:
        joined = [
            np.concatenate(
                [getattr(boxes[tensor], end).reshape(len(boxes[tensor].low), -1) for tensor in self.inputs], 1
            )
            for end in ("low", "high")
        ]
        inside = self.places >= 0
        return Box(*(np.where(inside, each[:, self.places], self.value) for each in joined)).shaped(self.shape)


@dataclass(frozen=True, eq=False)
class Largest(Stage):
    """The maximum over a window.

    Attributes:
        places: int64[taps, output size], the elements that each output's window sees; -1 for those outside.
        low, high: the clamp.
    """

    places: Int64
    low: int
    high: int

    def seen(self, box: Box) -> Box:
        """The boxes of what the windows see, int64[n, taps, output size]; outside lies what is below everything."""
        flat = [bound.reshape(len(bound), -1) for bound in (box.low, box.high)]
        return Box(*(np.where(self.places >= 0, each[:, self.places], INT8_MIN) for each in flat))

    @override
    def bounds(self, boxes: Boxes) -> Box:
        seen = self.seen(boxes[self.inputs[0]])
        low, high = (np.clip(each.max(axis=1), self.low, self.high) for each in (seen.low, seen.high))
        return Box(low, high).shaped(self.shape)


@dataclass(frozen=True, eq=False)
class Bounded(Stage):
    """An op of which only bounds are known."""

    rule: Callable[[Boxes], Box]

    @override
    def bounds(self, boxes: Boxes) -> Box:
        return self.rule(boxes).shaped(self.shape)


class Unbounded(Bounded):
    """An op without a rule, of whose outputs nothing is known but that they are int8."""


def stages_of(graph: Graph) -> tuple[Stage, ...]:
    """A graph's ops, in its order; of one without a rule, an output may be any int8 value.

    Raises:
        BadInputError: the model has several inputs or outputs.
    """
    if graph.states:
        raise BadInputError("the model keeps state between inferences; bounds need one without")
    if graph.further_inputs or graph.further_outputs:
        raise BadInputError(
            f"the model has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; bounds need one of each"
        )
    return tuple(_RULES.get(type(op), _unknown)(graph, op) for op in graph.ops)


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
    weights = maps.mean(op, graph.tensors)
    term = Summed(op.inputs[0], op.input_zero_point, weights)
    return Sums(*_about(graph, op), (term,), _ZERO, Requantisation(op.requant), weights.out_shape)


def _pool(graph: Graph, op: Pool2D) -> Stage:
    about = _about(graph, op)
    if op.mode == "average":
        term = Summed(op.inputs[0], 0, maps.average(op, graph.tensors))
        steps = Averaging(maps.counts(op, graph.tensors), op.act_min, op.act_max)
        return Sums(*about, (term,), _ZERO, steps, about[2])
    source = graph.tensors[op.inputs[0]].shape
    numbered = np.arange(1, graph.tensors[op.inputs[0]].size + 1, dtype=np.float64).reshape(1, *source)
    sliding = maps.Sliding(op.window, source, op.out_shape)
    padded = sliding.padded(numbered)
    seen = np.stack([padded[place].ravel() for place in sliding.taps()])
    return Largest(*about, seen.astype(np.int64) - 1, op.act_min, op.act_max)


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
    """With a constant, a table for each of its values; otherwise a sum, or bounds from corners."""
    about = _about(graph, op)
    places = tuple(_strided(op.sizes, steps).reshape(about[2]) for steps in op.steps)
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
        return _sum_of_two(graph, op, (places[0], places[1]), op.zero_points, op.operand_requants, sign)
    if op.operator not in ("MUL", "PRELU", "MAXIMUM", "MINIMUM"):
        return _unknown(graph, op)
    return Bounded(*about, lambda boxes: _corners(op, *_operands(op, boxes, places)))


def _strided(sizes: tuple[int, ...], steps: tuple[int, ...]) -> Int64:
    places = np.array(0, dtype=np.int64)
    for size, step in zip(sizes, steps, strict=True):
        places = np.add.outer(places, np.arange(size) * step)
    return places


def _operands(op: Binary, boxes: Boxes, places: tuple[Int64, ...]) -> tuple[Box, Box]:
    first, second = (
        Box(*(bound.reshape(len(bound), -1)[:, at] - zero_point for bound in (boxes[tensor].low, boxes[tensor].high)))
        for tensor, at, zero_point in zip(op.inputs, places, op.zero_points, strict=True)
    )
    return first, second


def _corners(op: Binary, first: Box, second: Box) -> Box:
    """Bounds of a product, a maximum, a minimum or a PRELU of two activations, from those of their distances from zero.

    A product is linear in each operand, so its extremes over a rectangle lie at corners; a maximum and a minimum rise
    with both. PRELU is a rescaled operand above zero and a rescaled product below.
    """
    if op.operator in ("MAXIMUM", "MINIMUM"):
        pick = np.maximum if op.operator == "MAXIMUM" else np.minimum
        low, high = (
            np.clip(pick(a, b) + op.requant.zero_point, op.requant.act_min, op.requant.act_max)
            for a, b in ((first.low, second.low), (first.high, second.high))
        )
        return Box(low, high)
    if op.operator == "MUL":
        return Requantisation(op.requant).bounds(_product(first, second))
    assert op.operand_requants is not None
    above, below = (
        Requantisation(replace(op.requant, multiplier=each.multiplier, shift=each.shift))
        for each in op.operand_requants
    )
    positive = above.bounds(Box(np.maximum(first.low, 0), np.maximum(first.high, 0)))
    negative = below.bounds(_product(Box(np.minimum(first.low, -1), np.minimum(first.high, -1)), second))
    return Box(
        np.where(
            first.low >= 0, positive.low, np.where(first.high < 0, negative.low, np.minimum(positive.low, negative.low))
        ),
        np.where(
            first.low >= 0,
            positive.high,
            np.where(first.high < 0, negative.high, np.maximum(positive.high, negative.high)),
        ),
    )


def _product(first: Box, second: Box) -> Box:
    products = np.stack([a * b for a in (first.low, first.high) for b in (second.low, second.high)])
    return Box(products.min(axis=0), products.max(axis=0))


def _softmax(graph: Graph, op: Softmax) -> Stage:
    table = softmax.exponentials(op)
    return Bounded(*_about(graph, op), lambda boxes: softmax.bounds(op, table, boxes[op.inputs[0]]))


def _moved(arrange: Callable[..., Int64]) -> Callable[[Graph, Any], Stage]:
    """A stage that moves elements as `arrange` moves their numbers, int64 arrays of the inputs' shapes."""

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
    """Padding of the last two axes, and of all before them as one."""
    image = x.reshape(-1, *(1, 1, *x.shape)[-2:])
    return np.pad(image, list(zip(op.before, op.after, strict=True)), constant_values=-1)


_RULES: dict[type[Op], Callable[[Graph, Any], Stage]] = {
    Conv2D: _weighted,
    DepthwiseConv2D: _weighted,
    FullyConnected: _weighted,
    TransposeConv: _weighted,
    Mean: _mean,
    Pool2D: _pool,
    Add: _add,
    Binary: _binary,
    Quantize: _elementwise,
    Lookup: _elementwise,
    Softmax: _softmax,
    Pad: _moved(_padded),
    View: _moved(lambda op, x: x.ravel()[op.places]),
    Concatenation: _moved(_join),
    Reshape: _moved(lambda _op, x: x),
    MirrorPad: _moved(lambda op, x: x[np.ix_(op.rows, op.columns, op.depths)]),
    ResizeNearest: _moved(lambda op, x: x[np.ix_(op.rows, op.columns)]),
}
