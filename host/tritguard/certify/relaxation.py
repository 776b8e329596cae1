"""Level 2: linear bounds of the deployed integers, taken backwards through the graph.

CROWN (Zhang et al. 2018, 1811.00866) and DeepPoly (Singh et al. 2019): a linear function of a tensor is bounded from
below by one of the tensors before it, op by op, until it is one of the input, whose minimum over the ball is known. An
op that is not linear is replaced by lines above and below it, which hold between bounds of its argument that are known
already; a rounding by lines half a step apart (`lines`, `tabled`). On the way the function is also minimised over the
boxes of the tensors that it then depends on, and the best of these bounds counts: the first of them is the difference
of two logits over the last layer's inputs, which interval propagation alone does not see.

Floating point. A `Form` is the exact statement "objective >= sum of slopes * tensors + constant - error", in real
numbers, for the float64 numbers it holds. Whatever a step computes in float64, the difference to the real result is
added to the error: a sum of k products, in any order, with or without fused operations, is off by at most
k * u / (1 - k * u) times the sum of the products' absolute values (u = 2^-53; Higham, Accuracy and Stability of
Numerical Algorithms, chapter 3). For the transposed maps that sum is bounded through the sums of the weights' absolute
values (`Term.reach`), and all tensors by 256 steps from their zero points; the errors are added up in float64 too, and
widened by a thousandth for that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tritguard.certify.box import Box, Region, inner, least_in
from tritguard.certify.intervals import Bounds
from tritguard.certify.lines import Lines, staircase_lines
from tritguard.certify.maps import gathered_back
from tritguard.certify.stages import Largest, Moved, Stage, Sums, Tabled
from tritguard.graph.arithmetic.fixed_point import INT8_MIN
from tritguard.graph.model import Float64

_UNIT = 2.0**-52  # twice the largest relative error of an operation
_WIDENED = 1.001
_FARTHEST = 256  # int8 steps from any zero point
_LEAST_SLACK = 1e-9


@dataclass(eq=False)
class Form:
    """Lower bounds of m objectives for each of n regions, as linear functions of tensors.

    Attributes:
        slopes: by tensor, float64[n, m, *shape].
        constant: float64[n, m].
        error: float64[n, m], not negative.
    """

    slopes: dict[int, Float64]
    constant: Float64
    error: Float64

    @classmethod
    def of(cls, tensor: int, slopes: Float64) -> Form:
        """The sums of a tensor's elements with factors, float64[n, m, *shape]."""
        return cls({tensor: slopes}, np.zeros(slopes.shape[:2]), np.zeros(slopes.shape[:2]))

    def add(self, tensor: int, slopes: Float64) -> None:
        """Add a function of a tensor, float64[n, m, *shape]."""
        if tensor not in self.slopes:
            self.slopes[tensor] = slopes
            return
        self.slopes[tensor] = self.slopes[tensor] + slopes
        self.error += _UNIT * _FARTHEST * _total(np.abs(self.slopes[tensor]))

    def shift(self, values: Float64) -> None:
        """Add constants, float64[n, m], which are exact."""
        self.constant = self.constant + values
        self.error += _UNIT * np.abs(self.constant)

    def least(self, boxes: Mapping[int, Box], region: Region, source: int) -> Float64:
        """The lower bounds, float64[n, m], over boxes of the tensors, and over the region for the input tensor."""
        total, error = self.constant.copy(), self.error + _UNIT * np.abs(self.constant)
        for tensor, slopes in self.slopes.items():
            total += region.least(slopes) if tensor == source else least_in(boxes[tensor], slopes)
            farthest = 2 * _FARTHEST + region.ball.eps
            size = slopes[0, 0].size + len(self.slopes) + 8
            error += _UNIT * size * (_total(np.abs(slopes)) * farthest + np.abs(total))
        return total - _WIDENED * error - _LEAST_SLACK


def _total(values: Float64) -> Float64:
    return np.asarray(values.reshape(*values.shape[:2], -1).sum(axis=2))


@dataclass(eq=False)
class Relaxation:
    """Linear relaxation of a graph for regions with known bounds.

    Attributes:
        stages: the graph's stages.
        source: its input tensor.
        region: n regions of inputs.
        bounds: the known bounds of tensors and sums; those of the stages before the one that is bounded are enough.
        known_lines: by the output of a stage, its lines, which are made when they are first needed.
    """

    stages: Sequence[Stage]
    source: int
    region: Region
    bounds: Bounds
    known_lines: dict[int, Lines] = field(default_factory=dict)

    def lines(self, stage: Sums | Tabled) -> Lines:
        """The lines of a stage, of the shape of its sums or of its output."""
        if stage.output not in self.known_lines:
            outputs = self.bounds.boxes[stage.output]
            if isinstance(stage, Sums):
                sums = self.bounds.sums[stage.output]
                made = staircase_lines(stage.steps, sums, outputs.shaped(stage.summed))
            else:
                made = stage.tables.lines(stage.which, stage.source(self.bounds.boxes))
            self.known_lines[stage.output] = made
        return self.known_lines[stage.output]

    def least(self, form: Form, end: int, trace: dict[int, Float64] | None = None) -> Float64:
        """Lower bounds, float64[n, m], of a form of tensors that the stages before position `end` write.

        Args:
            form: the form, which is used up.
            end: the position in `stages`.
            trace: receives, by the output of each stage of sums and by the input tensor, the slopes that arrived there.
        """
        best = form.least(self.bounds.boxes, self.region, self.source)
        for stage in reversed(self.stages[:end]):
            slopes = form.slopes.pop(stage.output, None)
            if slopes is None:
                continue
            if trace is not None and isinstance(stage, Sums):
                trace[stage.output] = slopes
            self._through(stage, slopes, form)
            best = np.maximum(best, form.least(self.bounds.boxes, self.region, self.source))
        if trace is not None and self.source in form.slopes:
            trace[self.source] = form.slopes[self.source]
        return best

    def _through(self, stage: Stage, slopes: Float64, form: Form) -> None:
        n, m = slopes.shape[:2]
        if isinstance(stage, Sums):
            shaped = slopes.reshape(n, m, *stage.summed)
            arrived = self._through_lines(self.lines(stage), shaped, form)
            add_sums(stage, arrived, form)
        elif isinstance(stage, Tabled):
            arrived = self._through_lines(self.lines(stage), slopes, form)
            self._gathered(stage, arrived, form)
        elif isinstance(stage, Moved):
            self._moved(stage, slopes, form)
        elif isinstance(stage, Largest):
            self._largest(stage, slopes, form)
        else:
            form.shift(least_in(self.bounds.boxes[stage.output], slopes))
            form.error += _UNIT * slopes[0, 0].size * _FARTHEST * _total(np.abs(slopes))

    def _through_lines(self, lines: Lines, slopes: Float64, form: Form) -> Float64:
        """Replace a function by its lines: those below where a slope is positive, those above where it is not."""
        low, high = np.maximum(slopes, 0), np.minimum(slopes, 0)
        first, second = inner(low, lines.low_offset), inner(high, lines.high_offset)
        sizes = inner(low, np.abs(lines.low_offset)) - inner(high, np.abs(lines.high_offset))
        form.shift(first + second)
        form.error += _UNIT * (slopes[0, 0].size + 4) * sizes
        low *= lines.low_slope[:, None]
        high *= lines.high_slope[:, None]
        low += high
        return low

    def _gathered(self, stage: Tabled, slopes: Float64, form: Form) -> None:
        n, m = slopes.shape[:2]
        tensor = stage.inputs[0]
        shape = self.bounds.boxes[tensor].low.shape[1:]
        form.error += _UNIT * (slopes[0, 0].size + 4) * _FARTHEST * _total(np.abs(slopes))
        if stage.places is not None:
            size = int(np.prod(shape))
            slopes = gathered_back(slopes.reshape(n * m, -1), stage.places.ravel(), size)
        form.add(tensor, slopes.reshape(n, m, *shape))

    def _moved(self, stage: Moved, slopes: Float64, form: Form) -> None:
        n, m = slopes.shape[:2]
        flat, inside = slopes.reshape(n * m, -1), stage.places >= 0
        form.error += _UNIT * (flat.shape[1] + 4) * _FARTHEST * _total(np.abs(slopes))
        form.shift(flat[:, ~inside].sum(axis=1).reshape(n, m) * stage.value)
        shapes = [self.bounds.boxes[tensor].low.shape[1:] for tensor in stage.inputs]
        sizes = [int(np.prod(shape)) for shape in shapes]
        back = gathered_back(flat[:, inside], stage.places[inside], sum(sizes))
        parts = np.split(back, np.cumsum(sizes)[:-1], axis=1)
        for tensor, shape, part in zip(stage.inputs, shapes, parts, strict=True):
            form.add(tensor, part.reshape(n, m, *shape))

    def _largest(self, stage: Largest, slopes: Float64, form: Form) -> None:
        """A maximum is at least any of its elements, and equal to one that none of the others can exceed."""
        n, m = slopes.shape[:2]
        tensor = stage.inputs[0]
        source = self.bounds.boxes[tensor]
        seen = stage.windows(source)
        # A place outside the image is no element of the input: what it stands for must not be followed back.
        chosen = np.where(stage.places >= 0, seen.low, INT8_MIN - 1).argmax(axis=1)
        others = np.where(np.arange(len(stage.places))[:, None] == chosen[:, None], INT8_MIN, seen.high).max(axis=1)
        least = seen.low.max(axis=1)
        output = self.bounds.boxes[stage.output]
        inside = (least >= stage.low) & (seen.high.max(axis=1) <= stage.high)
        flat = slopes.reshape(n, m, -1)
        followed = inside[:, None] & ((flat > 0) | (others <= least)[:, None])
        bounded = np.where(followed, 0, flat)
        box = output.shaped((flat.shape[2],))
        form.shift(least_in(box, bounded))
        form.error += _UNIT * (flat.shape[2] + 4) * 2 * _FARTHEST * _total(np.abs(slopes))
        places = np.take_along_axis(np.broadcast_to(stage.places, seen.low.shape), chosen[:, None], axis=1)[:, 0]
        back = np.stack(
            [
                gathered_back(np.where(each, part, 0), place, int(np.prod(source.low.shape[1:])))
                for each, part, place in zip(followed, flat, places, strict=True)
            ]
        )
        form.add(tensor, back.reshape(n, m, *source.low.shape[1:]))


def add_sums(stage: Sums, slopes: Float64, form: Form) -> None:
    """Add a function of a stage's sums, float64[n, m, *summed], as a function of the tensors that they are made of."""
    n, m = slopes.shape[:2]
    constant = np.broadcast_to(stage.bias, stage.summed).astype(np.float64)
    size, reach = slopes[0, 0].size + 4, np.abs(constant)
    for term in stage.terms:
        back = term.map.transposed(slopes.reshape(n * m, *stage.summed)).reshape(n, m, *term.map.in_shape)
        form.add(term.tensor, back)
        constant = constant - term.zero_point * term.map.of_ones
        size += back[0, 0].size
        reach = reach + 3 * _FARTHEST * term.reach
    slop = sum(term.slop for term in stage.terms)
    form.shift(inner(slopes, np.broadcast_to(constant, (n, *stage.summed))))
    form.error += inner(np.abs(slopes), np.broadcast_to(_UNIT * size * reach + slop, (n, *stage.summed)))
