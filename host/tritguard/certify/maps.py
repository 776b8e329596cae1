"""The linear maps of a graph's sums, forwards and transposed, in NumPy.

Weights and activations are whole numbers, and float64 adds and multiplies those without error up to 2^53, in any
order. The sums of a network stay far below: 2^53 is 255 * 127 times 2^38 weights. So intervals can go through BLAS and
still be exact.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from typing_extensions import override

from tritguard.graph.model import (
    Conv2D,
    DepthwiseConv2D,
    Float64,
    FullyConnected,
    Int64,
    Mean,
    Op,
    Pool2D,
    Tensor,
    TransposeConv,
    Window,
)

_ROOM = 1 << 23  # numbers that a map may hold beside its input and output


Span = tuple[int, int]  # the first of some rows or columns, and the one behind the last


class Crop(NamedTuple):
    """Some rows and columns of an image."""

    rows: Span
    columns: Span

    @property
    def sides(self) -> tuple[int, int]:
        """How many rows and columns."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]


class LinearMap(ABC):
    """A linear map of one tensor to sums.

    Attributes:
        in_shape, out_shape: without the batch.
        cost: multiply-accumulates for one row.
        columns: numbers that one row needs in between.
    """

    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    cost: int
    columns: int

    def forward(self, x: Float64) -> Float64:
        """float64[n, *in_shape] -> float64[n, *out_shape]."""
        return self._in_parts(self._forward, x)

    def transposed(self, slopes: Float64) -> Float64:
        """The transposed map: float64[n, *out_shape] -> float64[n, *in_shape]."""
        return self._in_parts(self._transposed, slopes)

    @abstractmethod
    def _forward(self, x: Float64) -> Float64: ...

    @abstractmethod
    def _transposed(self, slopes: Float64) -> Float64: ...

    @property
    @abstractmethod
    def magnitude(self) -> LinearMap:
        """The map whose coefficients are the absolute values of this one's."""

    def seen(self, axis: int, span: Span) -> Span | None:
        """Which rows (axis 0) or columns (1) of the image some of the output see; None: it is not said."""
        return None

    def offset(self, axis: int, out: Span, source: Span) -> int:
        """How a crop of the output lies over one of the image; crops of the same sizes and offset are the same map."""
        raise NotImplementedError

    def cropped(self, out: Crop, source: Crop) -> LinearMap:
        """The map to some of the output from a part of the image that holds all it sees."""
        raise NotImplementedError

    @cached_property
    def reach(self) -> Float64:
        """float64[*out_shape]: the sum of the absolute values of the coefficients of each output."""
        return self.magnitude.of_ones

    @cached_property
    def of_ones(self) -> Float64:
        """float64[*out_shape]: the sum of the coefficients of each output."""
        return np.asarray(self.forward(np.ones((1, *self.in_shape)))[0])

    def _in_parts(self, function: Callable[[Float64], Float64], x: Float64) -> Float64:
        rows = max(1, _ROOM // self.columns)
        if len(x) <= rows:
            return function(x)
        return np.concatenate([function(x[start : start + rows]) for start in range(0, len(x), rows)])


class Sliding:
    """The places that each tap of a window sees, in an image with zeros around it."""

    def __init__(self, window: Window, source: tuple[int, ...], out: tuple[int, ...]) -> None:
        self.window, self.source, self.out = window, source, out
        reach = [
            (out[axis] - 1) * window.stride[axis] + (window.kernel[axis] - 1) * window.dilation[axis] + 1
            for axis in (0, 1)
        ]
        self.before = window.padding
        self.sides = [max(reach[axis], window.padding[axis] + source[axis]) for axis in (0, 1)]

    def padded(self, x: Float64) -> Float64:
        """Images, float64[n, h, w, c], with zeros around them, and without what lies before a negative padding."""
        inner = x[:, max(-self.before[0], 0) :, max(-self.before[1], 0) :]
        around = [
            (max(self.before[axis], 0), self.sides[axis] - max(self.before[axis], 0) - inner.shape[1 + axis])
            for axis in (0, 1)
        ]
        return np.pad(inner, [(0, 0), *around, (0, 0)])

    def cropped(self, padded: Float64) -> Float64:
        """Padded images without what lies around them, and with zeros before a negative padding."""
        (top, left), (height, width) = self.before, self.source[:2]
        inner = padded[:, max(top, 0) : top + height, max(left, 0) : left + width]
        if top >= 0 and left >= 0:
            return inner
        return np.pad(inner, [(0, 0), (max(-top, 0), 0), (max(-left, 0), 0), (0, 0)])

    def seen(self, axis: int, span: Span) -> Span:
        """Which rows or columns of the image some of the output see; at least one."""
        stride, padding = self.window.stride[axis], self.window.padding[axis]
        first = span[0] * stride - padding
        last = (span[1] - 1) * stride - padding + (self.window.kernel[axis] - 1) * self.window.dilation[axis] + 1
        first = min(max(first, 0), self.source[axis] - 1)
        return first, max(min(last, self.source[axis]), first + 1)

    def offset(self, axis: int, out: Span, source: Span) -> int:
        """The padding of the window that moves over a crop; negative where the crop begins before what is seen."""
        return self.window.padding[axis] + source[0] - out[0] * self.window.stride[axis]

    def over(self, out: Crop, source: Crop) -> Window:
        """The window that moves over a crop of the image."""
        return replace(self.window, padding=(self.offset(0, out[0], source[0]), self.offset(1, out[1], source[1])))

    def taps(self) -> Iterator[tuple[slice, slice, slice]]:
        """For each tap, row by row, where it lies over the outputs, as an index of a padded batch."""
        for tap in np.ndindex(*self.window.kernel):
            rows, columns = (
                slice(first, first + (self.out[axis] - 1) * self.window.stride[axis] + 1, self.window.stride[axis])
                for axis, first in enumerate(int(at) * self.window.dilation[axis] for axis, at in enumerate(tap))
            )
            yield slice(None), rows, columns


class ConvMap(LinearMap):
    """A convolution without bias; weights float64[out, kernel_h, kernel_w, in]."""

    def __init__(self, weights: Float64, window: Window, source: tuple[int, ...], out: tuple[int, ...]) -> None:
        self._weights, self._sliding = weights, Sliding(window, source, out)
        self._matrix = weights.reshape(len(weights), -1)
        self.in_shape, self.out_shape = source, out
        self.columns = out[0] * out[1] * self._matrix.shape[1]
        self.cost = out[0] * out[1] * weights.size

    @override
    def _forward(self, x: Float64) -> Float64:
        padded = self._sliding.padded(x)
        seen = np.stack([padded[place] for place in self._sliding.taps()], axis=3)
        return (seen.reshape(-1, self._matrix.shape[1]) @ self._matrix.T).reshape(-1, *self.out_shape)

    @override
    def _transposed(self, slopes: Float64) -> Float64:
        n, taps = len(slopes), math.prod(self._weights.shape[1:3])
        spread = (slopes.reshape(-1, self.out_shape[2]) @ self._matrix).reshape(
            n, *self.out_shape[:2], taps, self.in_shape[2]
        )
        padded = np.zeros((n, *self._sliding.sides, self.in_shape[2]))
        for tap, place in enumerate(self._sliding.taps()):
            padded[place] += spread[:, :, :, tap]
        return self._sliding.cropped(padded)

    @cached_property
    @override
    def magnitude(self) -> LinearMap:
        return ConvMap(np.abs(self._weights), self._sliding.window, self.in_shape, self.out_shape)

    @override
    def seen(self, axis: int, span: Span) -> Span | None:
        return self._sliding.seen(axis, span)

    @override
    def offset(self, axis: int, out: Span, source: Span) -> int:
        return self._sliding.offset(axis, out, source)

    @override
    def cropped(self, out: Crop, source: Crop) -> LinearMap:
        sides = (*source.sides, self.in_shape[2]), (*out.sides, self.out_shape[2])
        return ConvMap(self._weights, self._sliding.over(out, source), *sides)


class DepthwiseMap(LinearMap):
    """A depthwise convolution without bias; weights float64[taps, in * multiplier]."""

    def __init__(self, weights: Float64, window: Window, source: tuple[int, ...], out: tuple[int, ...]) -> None:
        self._weights, self._sliding = weights, Sliding(window, source, out)
        self._multiplier = out[2] // source[2]
        self.in_shape, self.out_shape = source, out
        self.columns = math.prod(out)
        self.cost = out[0] * out[1] * weights.size

    @override
    def _forward(self, x: Float64) -> Float64:
        padded = np.repeat(self._sliding.padded(x), self._multiplier, axis=3)
        total = np.zeros((len(x), *self.out_shape))
        for weights, place in zip(self._weights, self._sliding.taps(), strict=True):
            total += padded[place] * weights
        return total

    @override
    def _transposed(self, slopes: Float64) -> Float64:
        padded = np.zeros((len(slopes), *self._sliding.sides, self.out_shape[2]))
        for weights, place in zip(self._weights, self._sliding.taps(), strict=True):
            padded[place] += slopes * weights
        cropped = self._sliding.cropped(padded)
        return np.asarray(cropped.reshape(*cropped.shape[:3], self.in_shape[2], self._multiplier).sum(axis=4))

    @cached_property
    @override
    def magnitude(self) -> LinearMap:
        return DepthwiseMap(np.abs(self._weights), self._sliding.window, self.in_shape, self.out_shape)

    @override
    def seen(self, axis: int, span: Span) -> Span | None:
        return self._sliding.seen(axis, span)

    @override
    def offset(self, axis: int, out: Span, source: Span) -> int:
        return self._sliding.offset(axis, out, source)

    @override
    def cropped(self, out: Crop, source: Crop) -> LinearMap:
        sides = (*source.sides, self.in_shape[2]), (*out.sides, self.out_shape[2])
        return DepthwiseMap(self._weights, self._sliding.over(out, source), *sides)


class DenseMap(LinearMap):
    """A matrix for each of several vectors that lie one after the other; weights float64[out, in]."""

    def __init__(self, weights: Float64, source: tuple[int, ...], out: tuple[int, ...]) -> None:
        self._weights = weights
        self.in_shape, self.out_shape = source, out
        self.columns = math.prod(source) + math.prod(out)
        self.cost = math.prod(out) * weights.shape[1]

    @override
    def _forward(self, x: Float64) -> Float64:
        return (x.reshape(-1, self._weights.shape[1]) @ self._weights.T).reshape(-1, *self.out_shape)

    @override
    def _transposed(self, slopes: Float64) -> Float64:
        return (slopes.reshape(-1, self._weights.shape[0]) @ self._weights).reshape(-1, *self.in_shape)

    @cached_property
    @override
    def magnitude(self) -> LinearMap:
        return DenseMap(np.abs(self._weights), self.in_shape, self.out_shape)


class Transposed(LinearMap):
    """Another map, transposed: a transposed convolution is the transpose of a convolution."""

    def __init__(self, of: LinearMap) -> None:
        self._of = of
        self.in_shape, self.out_shape = of.out_shape, of.in_shape
        self.columns, self.cost = of.columns, of.cost

    @override
    def _forward(self, x: Float64) -> Float64:
        return self._of.transposed(x)

    @override
    def _transposed(self, slopes: Float64) -> Float64:
        return self._of.forward(slopes)

    @cached_property
    @override
    def magnitude(self) -> LinearMap:
        return Transposed(self._of.magnitude)


class PickMap(LinearMap):
    """Each output is one input times a number, such as an operand of a sum that broadcasts.

    Args:
        places: int64[*out_shape], the place of the input in the flat tensor.
        factor: the number.
        source: the input's shape.
    """

    def __init__(self, places: Int64, factor: float, source: tuple[int, ...]) -> None:
        self.places, self._factor = places, factor
        self.in_shape, self.out_shape = source, places.shape
        self.columns = self.cost = places.size

    @override
    def _forward(self, x: Float64) -> Float64:
        return np.asarray(x.reshape(len(x), -1)[:, self.places] * self._factor)

    @override
    def _transposed(self, slopes: Float64) -> Float64:
        back = gathered_back(slopes.reshape(len(slopes), -1), self.places.ravel(), math.prod(self.in_shape))
        return (back * self._factor).reshape(-1, *self.in_shape)

    @cached_property
    @override
    def magnitude(self) -> LinearMap:
        return PickMap(self.places, abs(self._factor), self.in_shape)

    @cached_property
    def _same(self) -> bool:
        """Whether it takes each pixel of an image to itself."""
        one_to_one = np.arange(self.places.size).reshape(self.out_shape)
        return self.in_shape == self.out_shape and len(self.in_shape) == 3 and np.array_equal(self.places, one_to_one)

    @override
    def seen(self, axis: int, span: Span) -> Span | None:
        return span if self._same else None

    @override
    def offset(self, axis: int, out: Span, source: Span) -> int:
        return out[0] - source[0]

    @override
    def cropped(self, out: Crop, source: Crop) -> PickMap:
        shape = (*source.sides, self.in_shape[2])
        numbered = np.arange(math.prod(shape)).reshape(shape)
        top, left = (self.offset(axis, out[axis], source[axis]) for axis in (0, 1))
        height, width = out.sides
        return PickMap(numbered[top : top + height, left : left + width], self._factor, shape)


class PlacesMap(LinearMap):
    """The sums of elements at given places.

    Args:
        places: int64[outputs, positions], the places of the elements of each sum in the flat tensor.
        source: the tensor's shape.
    """

    def __init__(self, places: Int64, source: tuple[int, ...]) -> None:
        self._places = places
        self.in_shape, self.out_shape = source, (len(places),)
        self.columns = self.cost = places.size

    @override
    def _forward(self, x: Float64) -> Float64:
        return np.asarray(x.reshape(len(x), -1)[:, self._places].sum(axis=2))

    @override
    def _transposed(self, slopes: Float64) -> Float64:
        spread = np.repeat(slopes, self._places.shape[1], axis=1)
        return gathered_back(spread, self._places.ravel(), math.prod(self.in_shape)).reshape(-1, *self.in_shape)

    @cached_property
    @override
    def magnitude(self) -> LinearMap:
        return self


class ProductMap(LinearMap):
    """Products of matrices that lie in a tensor with constant ones.

    Args:
        places: int64[batches, rows, depth], where the elements of the tensor's matrices lie.
        weights: float64[batches, columns, depth], the constant matrices.
        source: the tensor's shape.
        turned: whether the outputs are [batches, columns, rows] and not [batches, rows, columns].
    """

    def __init__(self, places: Int64, weights: Float64, source: tuple[int, ...], turned: bool) -> None:
        self._places, self._weights, self._turned = places, weights, turned
        batches, rows, columns = *places.shape[:2], weights.shape[1]
        self.in_shape, self.out_shape = source, (batches, columns, rows) if turned else (batches, rows, columns)
        self.columns = places.size + batches * rows * columns
        self.cost = places.size * columns

    @override
    def _forward(self, x: Float64) -> Float64:
        found = x.reshape(len(x), -1)[:, self._places] @ self._weights.transpose(0, 2, 1)
        return found.transpose(0, 1, 3, 2) if self._turned else found

    @override
    def _transposed(self, slopes: Float64) -> Float64:
        straight = slopes.transpose(0, 1, 3, 2) if self._turned else slopes
        spread = (straight @ self._weights).reshape(len(slopes), -1)
        return gathered_back(spread, self._places.ravel(), math.prod(self.in_shape)).reshape(-1, *self.in_shape)

    @cached_property
    @override
    def magnitude(self) -> LinearMap:
        return ProductMap(self._places, np.abs(self._weights), self.in_shape, self._turned)


class SeparableMap(LinearMap):
    """One matrix for the rows of an image, and one for its columns.

    Args:
        rows: float64[out_h, in_h].
        columns: float64[out_w, in_w].
        channels: of the image.
    """

    def __init__(self, rows: Float64, columns: Float64, channels: int) -> None:
        self._rows, self._columns = rows, columns
        self.in_shape = (rows.shape[1], columns.shape[1], channels)
        self.out_shape = (rows.shape[0], columns.shape[0], channels)
        self.columns = rows.shape[0] * columns.shape[1] * channels
        self.cost = self.columns * (rows.shape[1] + columns.shape[0])

    @override
    def _forward(self, x: Float64) -> Float64:
        return np.asarray(np.einsum("ab,wv,nbvc->nawc", self._rows, self._columns, x, optimize=True))

    @override
    def _transposed(self, slopes: Float64) -> Float64:
        return np.asarray(np.einsum("ab,wv,nawc->nbvc", self._rows, self._columns, slopes, optimize=True))

    @cached_property
    @override
    def magnitude(self) -> LinearMap:
        return SeparableMap(np.abs(self._rows), np.abs(self._columns), self.in_shape[2])


def gathered_back(slopes: Float64, places: Int64, size: int) -> Float64:
    """The transpose of gathering: the sum, float64[n, size], of the slopes, float64[n, k], of each place, int64[k]."""
    order = np.argsort(places, kind="stable")
    found, starts = np.unique(places[order], return_index=True)
    back = np.zeros((len(slopes), size))
    if len(found):
        back[:, found] = np.add.reduceat(slopes[:, order], starts, axis=1)
    return back


def conv(op: Conv2D, tensors: dict[int, Tensor]) -> LinearMap:
    """The map of a convolution."""
    return ConvMap(op.weights.astype(np.float64), op.window, tensors[op.inputs[0]].shape, op.out_shape)


def depthwise(op: DepthwiseConv2D, tensors: dict[int, Tensor]) -> LinearMap:
    """The map of a depthwise convolution."""
    weights = op.weights.reshape(-1, len(op.bias)).astype(np.float64)
    return DepthwiseMap(weights, op.window, tensors[op.inputs[0]].shape, op.out_shape)


def dense(op: FullyConnected, tensors: dict[int, Tensor]) -> LinearMap:
    """The map of a dense layer, whose outputs are [rows, units]."""
    return DenseMap(op.weights.astype(np.float64), tensors[op.inputs[0]].shape, (op.rows, len(op.bias)))


def transpose_conv(op: TransposeConv, _tensors: dict[int, Tensor]) -> LinearMap:
    """The map of a transposed convolution."""
    back = op.weights.transpose(3, 1, 2, 0).astype(np.float64)
    return Transposed(ConvMap(back, op.window, op.out_shape, op.in_shape))


def mean(op: Mean, tensors: dict[int, Tensor]) -> LinearMap:
    """The map of a mean: the sum over all positions, for each channel."""
    source = tensors[op.inputs[0]].shape
    channels = math.prod(source) // op.positions
    whole = Window(kernel=(op.positions, 1), stride=(1, 1), dilation=(1, 1), padding=(0, 0))
    flat = DepthwiseMap(np.ones((op.positions, channels)), whole, (op.positions, 1, channels), (1, 1, channels))
    return Reshaped(flat, source, (channels,))


def average(op: Pool2D, tensors: dict[int, Tensor]) -> LinearMap:
    """The map of an average pool: the sum over each window."""
    taps, source = math.prod(op.window.kernel), tensors[op.inputs[0]].shape
    return DepthwiseMap(np.ones((taps, source[2])), op.window, source, op.out_shape)


class Reshaped(LinearMap):
    """Another map with its input and output in other shapes."""

    def __init__(self, of: LinearMap, source: tuple[int, ...], out: tuple[int, ...]) -> None:
        self._of = of
        self.in_shape, self.out_shape = source, out
        self.columns, self.cost = of.columns, of.cost

    @override
    def _forward(self, x: Float64) -> Float64:
        return self._of.forward(x.reshape(-1, *self._of.in_shape)).reshape(-1, *self.out_shape)

    @override
    def _transposed(self, slopes: Float64) -> Float64:
        return self._of.transposed(slopes.reshape(-1, *self._of.out_shape)).reshape(-1, *self.in_shape)

    @cached_property
    @override
    def magnitude(self) -> LinearMap:
        return Reshaped(self._of.magnitude, self.in_shape, self.out_shape)


def counts(op: Pool2D, tensors: dict[int, Tensor]) -> Int64:
    """int64[*out_shape]: how many elements each window of a pool sees."""
    of_ones = average(op, tensors).forward(np.ones((1, *tensors[op.inputs[0]].shape)))
    return np.asarray(of_ones[0], np.int64)


Weighing = Callable[..., LinearMap]
MAPS: dict[type[Op], Weighing] = {
    Conv2D: conv,
    DepthwiseConv2D: depthwise,
    FullyConnected: dense,
    TransposeConv: transpose_conv,
    Mean: mean,
}
