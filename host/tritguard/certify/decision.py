"""How the label follows from a tensor inside the network, and which differences there decide it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tritguard.certify import softmax
from tritguard.certify.box import Bool
from tritguard.certify.intervals import Bounds
from tritguard.certify.stages import Stage, Sums
from tritguard.certify.steps import Requantisation
from tritguard.certify.terms import Summed
from tritguard.errors import BadInputError
from tritguard.graph.arithmetic.fixed_point import INT8_MAX, INT8_MIN
from tritguard.graph.arithmetic.reference import elementwise
from tritguard.graph.model import Float64, Graph, Int8, Int64, LogSoftmax, Lookup, Quantize, Reshape, Softmax
from tritguard.predictor import LabelRule

_NEVER = 256  # a difference that no two int8 values have
_EVERY = np.arange(INT8_MIN, INT8_MAX + 1)


@dataclass(frozen=True, eq=False)
class Decision:
    """Where the label is decided: the last tensor behind which every op keeps the order of the scores.

    Attributes:
        rule: how the label follows from the model's output.
        tensor, size: its index, and the number of its elements.
        strict: the difference from which on the larger of two elements surely has the larger score too; scores keep
            the order for any difference, but may tie.
        threshold: for a model with one output, the largest value of the tensor that gives class 0.
    """

    rule: LabelRule
    tensor: int
    size: int
    strict: int
    threshold: int

    @classmethod
    def of(cls, graph: Graph) -> Decision:
        """Find the tensor by walking back from the graph's output.

        Raises:
            BadInputError: the output is no vector of scores, so no input has a class.
        """
        sink = graph.tensors[graph.output]
        rule = LabelRule.of(sink.shape, sink.scale, sink.zero_point)
        if rule.kind == "none":
            raise BadInputError(f"its output of shape {list(sink.shape)} is not a vector of scores, so it has no class")
        tensor, table, strict = graph.output, _EVERY.astype(np.int8), 1
        while tensor in graph.producers:
            op = graph.ops[graph.producers[tensor]]
            if isinstance(op, Lookup | Quantize) and (np.diff(elementwise(op).astype(int)) >= 0).all():
                table = table[elementwise(op).astype(np.int64) - INT8_MIN]
                strict = _through(elementwise(op), strict)
            elif isinstance(op, Softmax) and op.rows == 1 and rule.kind == "argmax":
                exponentials = softmax.exponentials(op)
                if not softmax.falls(exponentials) or sink.size > softmax.LONGEST or strict != 1:
                    break
                strict = softmax.strict_distance(exponentials, sink.size)
            elif isinstance(op, LogSoftmax) and op.rows == 1 and rule.kind == "argmax":
                if strict != 1:
                    break
                strict = softmax.log_strict_distance(op, graph.tensors[op.inputs[0]].scale)
            elif not isinstance(op, Reshape):
                break
            tensor = op.inputs[0]
        above = table > rule.threshold_steps if rule.threshold_steps is not None else table > INT8_MAX
        threshold = INT8_MAX if not above.any() else int(np.argmax(above)) + INT8_MIN - 1
        return cls(rule, tensor, sink.size, strict, threshold)

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.rule.classes

    def rivals(self, label: int) -> list[int]:
        """The classes that a label has to win against."""
        return [other for other in range(self.classes) if other != label]

    def objectives(self, y: Int64) -> tuple[Float64, Int64]:
        """What has to hold so that each label is the one the device gives.

        Args:
            y: int64[n], the labels.

        Returns:
            float64[n, m, size], factors, and int64[n, m], bounds: a label is given where each of m sums of the tensor's
            elements, multiplied by the factors, is at least its bound. Of equal scores the first counts, so a label has
            to be ahead of the classes before it, and not behind those after it.
        """
        if self.rule.kind == "threshold":
            signs = np.where(y == 1, 1, -1)
            return signs[:, None, None].astype(np.float64), np.where(y == 1, self.threshold + 1, -self.threshold)[
                :, None
            ]
        n, m = len(y), self.classes - 1
        factors, needed = np.zeros((n, m, self.size)), np.zeros((n, m), np.int64)
        for row, label in enumerate(y.tolist()):
            for place, other in enumerate(self.rivals(label)):
                factors[row, place, label], factors[row, place, other] = 1, -1
                needed[row, place] = self.strict if other < label else 0
        return factors, needed

    def proved(self, stages: tuple[Stage, ...], bounds: Bounds, y: Int64) -> Bool:
        """bool[n, m]: which of the objectives interval bounds prove.

        Either the bounds of the tensor's elements prove one, or, where the elements are requantised sums with the same
        scale, the bounds of the difference of two sums do: of two such sums the larger never gets the smaller output.
        """
        factors, needed = self.objectives(y)
        box = bounds.boxes[self.tensor]
        low, high = (bound.reshape(len(y), 1, -1).astype(np.float64) for bound in (box.low, box.high))
        least = (np.maximum(factors, 0) * low + np.minimum(factors, 0) * high).sum(axis=2)
        found = np.array(least >= needed, dtype=bool)
        last = next((stage for stage in stages if stage.output == self.tensor), None)
        if isinstance(last, Sums) and self.rule.kind == "argmax" and not found.all():
            found = found | (needed == 0) & self._by_sums(last, bounds, factors)
        return found

    def _by_sums(self, last: Sums, bounds: Bounds, factors: Float64) -> Bool:
        """bool[n, m]: where no sum wraps and the label's sum is never the smaller one."""
        same = isinstance(last.steps, Requantisation) and all(
            len(np.unique(each)) == 1 for each in (last.steps.requant.multiplier, last.steps.requant.shift)
        )
        term = last.terms[0]
        if not same or len(last.terms) > 1 or not isinstance(term, Summed):
            return np.zeros(factors.shape[:2], dtype=bool)
        n, m = factors.shape[:2]
        slopes = term.map.transposed(factors.reshape(n * m, *last.summed)).reshape(n, m, -1)
        source = bounds.boxes[term.tensor]
        twice_middle = (source.low + source.high - 2 * term.zero_point).reshape(n, 1, -1)
        width = (source.high - source.low).reshape(n, 1, -1)
        bias = (factors.reshape(n, m, *last.summed) * last.bias).reshape(n, m, -1).sum(axis=2)
        twice = (slopes * twice_middle - np.abs(slopes) * width).sum(axis=2) + 2 * bias
        fits = last.steps.fits(bounds.sums[last.output]).reshape(n, -1).all(axis=1, keepdims=True)
        return np.asarray((twice >= 0) & fits)


def _through(table: Int8, strict: int) -> int:
    """The least difference of two inputs of a rising table that makes a difference of `strict` in its outputs."""
    wide = table.astype(np.int64)
    for distance in range(1, _NEVER):
        if (wide[distance:] - wide[:-distance] >= strict).all():
            return distance
    return _NEVER
