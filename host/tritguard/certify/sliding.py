"""The linear maps whose window slides over an image: convolutions, and pools that move as they do."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np
from typing_extensions import override

from tritguard.certify.linear import Crop, LinearMap, Span
from tritguard.graph.model import Float64, Window


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
        """The rows or columns of the image that a span of the output sees; at least one."""
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
        """For each tap, row by row, the places that it sees for all outputs, as an index into a padded batch."""
        for tap in np.ndindex(*self.window.kernel):
            rows, columns = (
                slice(first, first + (self.out[axis] - 1) * self.window.stride[axis] + 1, self.window.stride[axis])
                for axis, first in enumerate(int(at) * self.window.dilation[axis] for axis, at in enumerate(tap))
            )
            yield slice(None), rows, columns


class SlidingMap(LinearMap):
    """A map with weights for each tap of a window; its magnitude and its crops are maps of the same kind."""

    def __init__(self, weights: Float64, window: Window, source: tuple[int, ...], out: tuple[int, ...]) -> None:
        self._weights, self._sliding = weights, Sliding(window, source, out)
        self.in_shape, self.out_shape = source, out
        self.cost = out[0] * out[1] * weights.size

    @cached_property
    @override
    def magnitude(self) -> LinearMap:
        return type(self)(np.abs(self._weights), self._sliding.window, self.in_shape, self.out_shape)

    @override
    def seen(self, axis: int, span: Span) -> Span | None:
        return self._sliding.seen(axis, span)

    @override
    def offset(self, axis: int, out: Span, source: Span) -> int:
        return self._sliding.offset(axis, out, source)

    @override
    def cropped(self, out: Crop, source: Crop) -> LinearMap:
        sides = (*source.sides, self.in_shape[2]), (*out.sides, self.out_shape[2])
        return type(self)(self._weights, self._sliding.over(out, source), *sides)


class ConvMap(SlidingMap):
    """A convolution without bias; weights float64[out, kernel_h, kernel_w, in]."""

    def __init__(self, weights: Float64, window: Window, source: tuple[int, ...], out: tuple[int, ...]) -> None:
        super().__init__(weights, window, source, out)
        self._matrix = weights.reshape(len(weights), -1)
        self.columns = out[0] * out[1] * self._matrix.shape[1]

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


class DepthwiseMap(SlidingMap):
    """A depthwise convolution without bias; weights float64[taps, in * multiplier]."""

    def __init__(self, weights: Float64, window: Window, source: tuple[int, ...], out: tuple[int, ...]) -> None:
        super().__init__(weights, window, source, out)
        self._multiplier = out[2] // source[2]
        self.columns = math.prod(out)

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
