"""A linear map of a tensor to sums, forwards and transposed, in NumPy.

Weights and activations are whole numbers, and float64 adds and multiplies those without error up to 2^53, in any
order. The sums of a network stay far below: 2^53 is 255 * 127 times 2^38 weights. So intervals can go through BLAS and
still be exact.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np

from tritguard.graph.model import Float64

_ROOM = 1 << 23  # numbers that a map may hold in addition to its input and output
Span = tuple[int, int]  # the first of some rows or columns, and the one behind the last


class Crop(NamedTuple):
    """Some rows and columns of an image."""

    rows: Span
    columns: Span

    @property
    def sides(self) -> tuple[int, int]:
        """The numbers of rows and columns."""
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]


class LinearMap(ABC):
    """A linear map of one tensor to sums.

    Attributes:
        in_shape, out_shape: the shapes of the tensor and of the sums, without the batch.
        cost: multiply-accumulates for one row of the batch.
        columns: the intermediate numbers that one row of the batch needs.
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
        """The rows (axis 0) or columns (1) of the image that a span of the output sees; None if that is not known."""
        return None

    def offset(self, axis: int, out: Span, source: Span) -> int:
        """How a crop of the output lies over one of the image; crops of equal sizes and offsets have the same map."""
        raise NotImplementedError

    def cropped(self, out: Crop, source: Crop) -> LinearMap:
        """The map to a crop of the output from a crop of the image that holds all it sees."""
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
