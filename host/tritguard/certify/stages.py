"""A graph's ops as bounds need them: five kinds of stages.

`Sums` are linear maps with a staircase behind them: convolutions, dense layers, products with a constant matrix, sums,
means, average pools, linear interpolations, additions. `Tabled` is a function of one element, or a function of two
whose second operand is a constant. `Moved` puts bytes elsewhere. `Largest` is a maximum over windows or axes. `Bounded`
is everything of which only bounds are known. `rules` says what each op is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from tritguard.certify.box import Box
from tritguard.certify.linear import Crop, Span
from tritguard.certify.steps import Steps
from tritguard.certify.tabled import Tables
from tritguard.certify.terms import Term
from tritguard.graph.arithmetic.fixed_point import INT8_MIN
from tritguard.graph.model import Int64

Boxes = Mapping[int, Box]  # by tensor, in the shapes of the tensors


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

    def seen(self, axis: int, span: Span) -> dict[int, Span] | None:
        """The rows (axis 0) or columns (1) of each input that a span of the output sees; None if that is not known."""
        return None

    def geometry(self, axis: int, span: Span, seen: Mapping[int, Span | None]) -> tuple[int, ...]:
        """How the crops of output and inputs lie along an axis: where this is the same, so is the cropped stage.

        Args:
            axis: 0 for rows, 1 for columns.
            span: the span of the output.
            seen: by tensor, the span that the output sees of it; None for the whole tensor.
        """
        raise NotImplementedError

    def cropped(self, crops: Mapping[int, Crop]) -> Stage:
        """The stage between crops of its inputs and of its output; a tensor without a crop is taken as a whole."""
        raise NotImplementedError


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

    @override
    def seen(self, axis: int, span: Span) -> dict[int, Span] | None:
        if self.summed != self.shape:
            return None
        found: dict[int, Span] = {}
        for term in self.terms:
            part = term.map.seen(axis, span)
            if part is None:
                return None
            known = found.get(term.tensor, part)
            found[term.tensor] = min(known[0], part[0]), max(known[1], part[1])
        return found

    @override
    def geometry(self, axis: int, span: Span, seen: Mapping[int, Span | None]) -> tuple[int, ...]:
        found = [span[1] - span[0]]
        for term in self.terms:
            source = seen[term.tensor] or (0, term.map.in_shape[axis])
            found += [source[1] - source[0], term.map.offset(axis, span, source)]
        return tuple(found)

    @override
    def cropped(self, crops: Mapping[int, Crop]) -> Sums:
        out = crops[self.output]
        whole = {term.tensor: term.map.in_shape for term in self.terms}
        terms = tuple(
            term.cropped(out, crops.get(term.tensor, Crop((0, whole[term.tensor][0]), (0, whole[term.tensor][1]))))
            for term in self.terms
        )
        shape = (*out.sides, self.shape[2])
        return Sums(self.inputs, self.output, shape, terms, self.bias, self.steps.cropped(out), shape)


@dataclass(frozen=True, eq=False)
class Tabled(Stage):
    """A table of each element.

    Attributes:
        tables: the tables.
        which: int64, the table of each output element; broadcasts to the output.
        places: int64[*shape], the element of the flat input that each output takes; None for its own.
    """

    tables: Tables
    which: Int64
    places: Int64 | None = None

    def source(self, boxes: Boxes) -> Box:
        """The boxes of the elements that are looked up in the tables, in the output's shape."""
        box = boxes[self.inputs[0]]
        if self.places is None:
            return box.shaped(self.shape)
        return Box(*(bound.reshape(len(bound), -1)[:, self.places] for bound in (box.low, box.high)))

    @override
    def bounds(self, boxes: Boxes) -> Box:
        return self.tables.bounds(self.which, self.source(boxes))

    @override
    def seen(self, axis: int, span: Span) -> dict[int, Span] | None:
        alone = self.places is None and self.which.ndim == 0
        return {self.inputs[0]: span} if alone and len(self.shape) == 3 else None

    @override
    def geometry(self, axis: int, span: Span, seen: Mapping[int, Span | None]) -> tuple[int, ...]:
        source = seen[self.inputs[0]] or (0, self.shape[axis])
        return span[1] - span[0], source[1] - source[0], span[0] - source[0]

    @override
    def cropped(self, crops: Mapping[int, Crop]) -> Tabled:
        out, source = crops[self.output], crops.get(self.inputs[0])
        places = None if source == out else _places(self.shape, out, source)
        return Tabled(self.inputs, self.output, (*out.sides, self.shape[2]), self.tables, self.which, places)


def _places(shape: tuple[int, ...], out: Crop, source: Crop | None) -> Int64:
    """Where the elements of a crop of an image of this shape lie in a larger crop, or in the whole."""
    rows, columns = source or Crop((0, shape[0]), (0, shape[1]))
    numbered = np.arange((rows[1] - rows[0]) * (columns[1] - columns[0]) * shape[2]).reshape(
        rows[1] - rows[0], columns[1] - columns[0], shape[2]
    )
    return numbered[
        out.rows[0] - rows[0] : out.rows[1] - rows[0], out.columns[0] - columns[0] : out.columns[1] - columns[0]
    ]


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

    def windows(self, box: Box) -> Box:
        """The boxes of what the windows see, int64[n, taps, output size]; the lowest value where they see nothing."""
        flat = [bound.reshape(len(bound), -1) for bound in (box.low, box.high)]
        return Box(*(np.where(self.places >= 0, each[:, self.places], INT8_MIN) for each in flat))

    @override
    def bounds(self, boxes: Boxes) -> Box:
        seen = self.windows(boxes[self.inputs[0]])
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
    """An op without a rule: nothing is known of its outputs but that they are int8."""
