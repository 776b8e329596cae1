"""The linear maps of a graph's ops."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import numpy as np
from typing_extensions import override

from tritguard.certify.linear import Crop, LinearMap, Span
from tritguard.certify.sliding import ConvMap, DepthwiseMap
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


class DenseMap(LinearMap):
    """A matrix applied to each of several vectors that lie one after the other; weights float64[out, in]."""

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
    """Products of matrices that lie in a tensor with constant matrices.

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
        channels: the number of channels of the image.
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
