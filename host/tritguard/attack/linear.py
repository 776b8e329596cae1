"""What layers with weights sum up, on TensorFlow tensors, and which float holds it without error."""

from __future__ import annotations

from typing import Any

import numpy as np

from tritguard.graph.arithmetic.fixed_point import INT8_MAX, INT8_MIN
from tritguard.graph.model import Conv2D, DepthwiseConv2D, FullyConnected, TransposeConv, Weighted, Window

_FLOAT32_WHOLE = 1 << 24  # below, float32 holds every whole number


def common_factor(op: Weighted | TransposeConv) -> int:
    """The greatest number that divides all weights: ternary ones are -1, 0 and 1 times it."""
    return int(np.gcd.reduce(op.weights.astype(np.int64), axis=None)) or 1


def largest_sum(op: Weighted | TransposeConv) -> int:
    """What no sum of input steps times weights exceeds in absolute value."""
    axis = op.channel_axis if isinstance(op, Weighted) else 0
    others = tuple(other for other in range(op.weights.ndim) if other != axis)
    farthest = max(INT8_MAX - op.input_zero_point, op.input_zero_point - INT8_MIN)
    return int(np.abs(op.weights.astype(np.int64)).sum(axis=others).max()) * farthest


def summing_dtype(largest: int) -> type[np.float32 | np.float64]:
    """The float that sums whole numbers up to this one exactly, in whatever order."""
    return np.float32 if largest < _FLOAT32_WHOLE else np.float64


def weighted_sums(tf: Any, op: Weighted | TransposeConv, x: Any, weights: Any, lift: float = 0.0) -> Any:
    """What a layer with weights sums up, before its bias: linear in the weights.

    Args:
        op: any layer with weights.
        x: float[n, *input shape]; zero is what padding holds.
        weights: float of the same type, in the shape of `op.weights`.
        lift: added to every value that a weight meets, padding included.
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
    else:  # TensorFlow wants equal strides
        full = tf.nn.depthwise_conv2d(x, kernel, strides=(1, 1, 1, 1), padding="VALID")[:, ::down, ::right]
    return full[:, : op.out_shape[0], : op.out_shape[1]]


def _dilated(tf: Any, kernel: Any, window: Window) -> Any:
    """[h, w, ...] with zeros between its elements: TensorFlow has no dilated gradients on a CPU."""
    (height, width), (down, right) = window.kernel, window.dilation
    if (down, right) == (1, 1):
        return kernel
    spread = tf.reshape(kernel, (height, 1, width, 1, *kernel.shape[2:]))
    spread = tf.pad(spread, [(0, 0), (0, down - 1), (0, 0), (0, right - 1), (0, 0), (0, 0)])
    wide = tf.reshape(spread, (height * down, width * right, *kernel.shape[2:]))
    return wide[: (height - 1) * down + 1, : (width - 1) * right + 1]


def _padded(tf: Any, x: Any, window: Window, out: tuple[int, int, int]) -> Any:
    """Zeros around x so that an unpadded window gives exactly the output's sides; surplus rows are cut."""
    pads = []
    for axis in range(2):
        reach = (window.kernel[axis] - 1) * window.dilation[axis] + 1
        needed = (out[axis] - 1) * window.stride[axis] + reach
        before = window.padding[axis]
        pads.append((before, max(0, needed - before - x.shape[axis + 1])))
    return tf.pad(x, [(0, 0), *pads, (0, 0)])


def _transposed(tf: Any, op: TransposeConv, x: Any, weights: Any) -> Any:
    """The whole of what the input reaches, then the part that is the output."""
    (height, width, channels), window = op.out_shape, op.window
    reach = [(op.in_shape[axis] - 1) * window.stride[axis] + window.kernel[axis] for axis in range(2)]
    kernel = weights.transpose(1, 2, 0, 3)
    shape = (tf.shape(x)[0], *reach, channels)
    full = tf.nn.conv2d_transpose(x, kernel, shape, strides=window.stride, padding="VALID")
    top, left = window.padding
    full = tf.pad(full, [(0, 0), (0, max(0, top + height - reach[0])), (0, max(0, left + width - reach[1])), (0, 0)])
    return full[:, top : top + height, left : left + width]
