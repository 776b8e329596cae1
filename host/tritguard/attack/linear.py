"""The sums that layers with weights compute, on TensorFlow tensors, and the float type that holds them exactly."""

from __future__ import annotations

from typing import Any

import numpy as np

from tritguard.graph.arithmetic.fixed_point import INT8_MAX, INT8_MIN
from tritguard.graph.model import Conv2D, DepthwiseConv2D, FullyConnected, TransposeConv, Weighted, Window

_FLOAT32_WHOLE = 1 << 24  # float32 holds every whole number below this


def common_factor(op: Weighted | TransposeConv) -> int:
    """The greatest common divisor of all weights; ternary weights are -1, 0 and 1 times it."""
    return int(np.gcd.reduce(op.weights.astype(np.int64), axis=None)) or 1


def largest_sum(op: Weighted | TransposeConv) -> int:
    """A bound on the absolute value of every sum of input steps times weights."""
    axis = op.channel_axis if isinstance(op, Weighted) else 0
    others = tuple(other for other in range(op.weights.ndim) if other != axis)
    farthest = max(INT8_MAX - op.input_zero_point, op.input_zero_point - INT8_MIN)
    return int(np.abs(op.weights.astype(np.int64)).sum(axis=others).max()) * farthest


def summing_dtype(largest: int) -> type[np.float32 | np.float64]:
    """The float type in which whole numbers up to this one are summed exactly, in any order."""
    return np.float32 if largest < _FLOAT32_WHOLE else np.float64


def weighted_sums(tf: Any, op: Weighted | TransposeConv, x: Any, weights: Any, lift: float = 0.0) -> Any:
    """The sums of a layer with weights, before its bias; they are linear in the weights.

    Args:
        op: any layer with weights.
        x: float[n, *input_shape], shifted so that padding is zero.
        weights: floats of the type of x, in the shape of `op.weights`.
        lift: a number added to every value that a weight is multiplied with, padding included.
    """
    if isinstance(op, TransposeConv):
        return _transposed(tf, op, x + lift, weights)
    if isinstance(op, FullyConnected):
        return tf.matmul(tf.reshape(x, (-1, op.weights.shape[1])) + lift, weights, transpose_b=True)
    assert isinstance(op, Conv2D | DepthwiseConv2D)
    x = _padded(tf, x, op.window, op.out_shape) + lift
    if isinstance(op, Conv2D):
        kernel = _dilated(tf, tf.transpose(weights, (1, 2, 3, 0)), op.window)
        full = tf.nn.conv2d(x, kernel, strides=(1, *op.window.stride, 1), padding="VALID")
        return full[:, : op.out_shape[0], : op.out_shape[1]]
    kernel = tf.reshape(weights, (*op.window.kernel, -1, op.depth_multiplier))
    kernel = _dilated(tf, kernel, op.window)
    down, right = op.window.stride
    if down == right:
        full = tf.nn.depthwise_conv2d(x, kernel, strides=(1, down, right, 1), padding="VALID")
    else:  # TensorFlow requires equal strides
        full = tf.nn.depthwise_conv2d(x, kernel, strides=(1, 1, 1, 1), padding="VALID")[:, ::down, ::right]
    return full[:, : op.out_shape[0], : op.out_shape[1]]


def _dilated(tf: Any, kernel: Any, window: Window) -> Any:
    """A kernel [h, w, ...] with zeros between its elements: TensorFlow has no gradients of dilated ones on a CPU."""
    (height, width), (down, right) = window.kernel, window.dilation
    if (down, right) == (1, 1):
        return kernel
    spread = tf.reshape(kernel, (height, 1, width, 1, *kernel.shape[2:]))
    spread = tf.pad(spread, [(0, 0), (0, down - 1), (0, 0), (0, right - 1), (0, 0), (0, 0)])
    wide = tf.reshape(spread, (height * down, width * right, *kernel.shape[2:]))
    return wide[: (height - 1) * down + 1, : (width - 1) * right + 1]


def _padded(tf: Any, x: Any, window: Window, out: tuple[int, int, int]) -> Any:
    """x with zeros around it, so that an unpadded window gives the output's sides; the caller cuts surplus rows."""
    pads = []
    for axis in range(2):
        reach = (window.kernel[axis] - 1) * window.dilation[axis] + 1
        needed = (out[axis] - 1) * window.stride[axis] + reach
        before = window.padding[axis]
        pads.append((before, max(0, needed - before - x.shape[axis + 1])))
    return tf.pad(x, [(0, 0), *pads, (0, 0)])


def _transposed(tf: Any, op: TransposeConv, x: Any, weights: Any) -> Any:
    """Transposed convolution: everything that the input reaches, cut or padded to the output."""
    (height, width, channels), window = op.out_shape, op.window
    reach = [(op.in_shape[axis] - 1) * window.stride[axis] + window.kernel[axis] for axis in range(2)]
    kernel = weights.transpose(1, 2, 0, 3)
    shape = (tf.shape(x)[0], *reach, channels)
    full = tf.nn.conv2d_transpose(x, kernel, shape, strides=window.stride, padding="VALID")
    top, left = window.padding
    full = tf.pad(full, [(0, 0), (0, max(0, top + height - reach[0])), (0, max(0, left + width - reach[1])), (0, 0)])
    return full[:, top : top + height, left : left + width]
