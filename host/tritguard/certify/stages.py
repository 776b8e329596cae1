"""A graph's ops as bounds need them: five kinds of stages.

`Sums` are linear maps with a staircase behind them: convolutions, dense layers, products with a constant matrix, sums,
means, average pools, linear interpolations, additions. `Tabled` is a function of one element, and a function of two
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
from tritguard.certify.steps import Steps
from tritguard.certify.tabled import Tables
from tritguard.certify.terms import Term
from tritguard.graph.arithmetic.fixed_point import INT8_MIN
from tritguard.graph.model import Int64

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
