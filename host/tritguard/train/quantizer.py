"""The rules by which weights and activations are rounded in training.

Ternary weights follow QKeras 0.9.0's `ternary` and `stochastic_ternary` (quantizers.py), operation for operation:
they are scale * {-1, 0, 1}. With alpha "auto" the scale starts at 2/3 of the largest magnitude and is refitted by least
squares (Li et al. 2016, arXiv 1605.04711); in each round the threshold is half of the previous scale. "auto_po2" rounds
the scale to powers of two. If alpha is a number, it is the scale, and the threshold is fixed. Without alpha the scale
is 1 and the gradient is that of tanh. QKeras' stochastic rounding and piecewise sigmoid are not implemented.

There is one addition. QKeras uses one scale over all axes but the last. For a depthwise kernel (h, w, channels,
multiplier) that is one scale for the whole tensor, and channels with small weights die. Here the caller names the axes
that share a scale.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from tritguard.train.backend import keras

ops = keras.ops
Tensor = Any  # keras.KerasTensor or the backend's tensor: float32 here
Alpha = Literal["auto", "auto_po2"] | float | None
Axes = tuple[int, ...]

ROUNDS = 5
EPSILON = 1e-7  # QKeras' K.epsilon(), which keeps the scale of an all-zero channel at zero
THRESHOLD = 0.33  # if alpha is not a string


def ternarize(x: Tensor, axes: Axes, alpha: Alpha = "auto", threshold: float | None = None) -> tuple[Tensor, Tensor]:
    """Quantize weights to trits and a scale as they are deployed; this is QKeras' `ternary`.

    Args:
        x: float32 weights.
        axes: the axes that share one scale.
        alpha: how the scale is found; see the module's docstring.
        threshold: the least magnitude that does not become zero, if alpha is not a string; 0.33 by default.

    Returns:
        trits: float32 of x's shape, in {-1, 0, 1}.
        scale: float32, x's shape with length 1 along `axes`; 0 where all trits are 0, or 2^-23 with "auto_po2".
    """
    if not isinstance(alpha, str):
        trits = ops.where(ops.abs(x) >= (THRESHOLD if threshold is None else threshold), ops.sign(x), 0.0)
        return trits, ops.full_like(ops.max(x, axis=axes, keepdims=True), 1.0 if alpha is None else alpha)
    magnitude, scale = ops.abs(x), _first_scale(x, axes, alpha)
    beyond = ops.zeros_like(x)
    for _ in range(ROUNDS):
        # Unlike |x| > scale / 2, this rounds the quotient, which matters for near ties. It is NaN where the scale is 0.
        beyond = ops.cast(ops.round(magnitude / scale) >= 1.0, x.dtype)
        scale = _fitted_scale(magnitude, beyond, axes, alpha)
    return ops.where(beyond > 0.0, ops.sign(x), 0.0), scale


def draw_probabilities(
    x: Tensor, axes: Axes, temperature: float, alpha: Alpha = "auto"
) -> tuple[Tensor, Tensor, Tensor]:
    """The probabilities of the two Bernoulli draws of QKeras' `stochastic_ternary`, and its scale.

    The trit is +1 if both draws are 1, -1 if both are 0, and 0 otherwise, so its mean is p_upper + p_lower - 1.

    Returns:
        p_upper, p_lower: float32 of x's shape, sigmoid(temperature * (x -+ scale / 2) / std(x)).
        scale: the same as from `ternarize`, except that weights exactly on the threshold count as beyond it.

    Raises:
        ValueError: alpha is not a string, for which QKeras does not draw trits either.
    """
    if not isinstance(alpha, str):
        raise ValueError(f"stochastic_ternary takes alpha 'auto' or 'auto_po2', not {alpha}")
    magnitude, scale = ops.abs(x), _first_scale(x, axes, alpha)
    for _ in range(ROUNDS):
        scale = _fitted_scale(magnitude, ops.cast(magnitude >= scale / 2.0, x.dtype), axes, alpha)
    std = ops.std(x, axis=axes, keepdims=True) + EPSILON
    normal, threshold = x / std, scale / (2.0 * std)
    return ops.sigmoid(temperature * (normal - threshold)), ops.sigmoid(temperature * (normal + threshold)), scale


def drawn_trits(p_upper: Tensor, p_lower: Tensor, uniform: Tensor) -> Tensor:
    """Draw trits, float32 in {-1, 0, 1} of the probabilities' shape; `uniform` are draws from [0, 1), [2, *shape]."""
    return ops.cast(uniform[0] <= p_upper, p_upper.dtype) + ops.cast(uniform[1] <= p_lower, p_lower.dtype) - 1.0


def straight_through(x: Tensor, quantized: Tensor, alpha: Alpha = "auto") -> Tensor:
    """`quantized` in the forward pass. The gradient is that of x, or without an alpha that of tanh(x)."""
    passed = ops.tanh(x) if alpha is None else x
    return passed + ops.stop_gradient(quantized - passed)


def draw_channels(x: Tensor, quantized: Tensor, axes: Axes, share: Tensor, seed: Any) -> Tensor:
    """Choose the channels that stochastic quantization quantizes in this step (Dong et al. 2017, arXiv 1708.01001).

    The paper draws a share of the channels without replacement by a roulette, with p proportional to the inverse of the
    relative error ||W - Q||_1 / ||W||_1. Taking the largest log p + Gumbel noise gives the same distribution.

    Args:
        x: float32 weights.
        quantized: the quantized weights, float32 of x's shape.
        axes: all axes except those of the channels.
        share: float32 scalar from 0 to 1; round(share * C) of C channels are drawn.
        seed: a seed for `keras.random`.

    Returns:
        bool, x's shape with length 1 along `axes`: whether each channel was drawn.
    """
    total = ops.sum(ops.abs(x), axis=axes, keepdims=True)
    error = ops.sum(ops.abs(x - quantized), axis=axes, keepdims=True) / ops.maximum(total, EPSILON)
    uniform = keras.random.uniform(error.shape, minval=EPSILON, maxval=1.0, seed=seed)
    keys = ops.reshape(-ops.log(error + EPSILON) - ops.log(-ops.log(uniform)), (-1,))
    ranks = ops.argsort(ops.argsort(-keys))
    chosen = ops.cast(ranks, x.dtype) < ops.round(share * math.prod(error.shape))
    return ops.reshape(chosen, error.shape)


def int8_weights(x: Tensor, axes: Axes) -> Tensor:
    """Round weights to TFLite's int8 grid, which is symmetric: the largest magnitude over `axes` becomes 127 steps."""
    scale = ops.maximum(ops.max(ops.abs(x), axis=axes, keepdims=True) / 127.0, EPSILON)
    return ops.round(x / scale) * scale


def int8_activations(x: Tensor, low: Tensor, high: Tensor, *, learnt: bool = False) -> Tensor:
    """Round activations to TFLite's int8 grid: 256 levels from low to high, shifted so that one of them is 0.

    The gradient is 1 between low and high and 0 outside (Jacob et al. 2018, arXiv 1712.05877). Unlike that of
    TensorFlow's own fake quantization, it can be differentiated again.

    Args:
        x: float32.
        low, high: float32 scalars with low <= 0 <= high. If both are 0, x is returned unchanged.
        learnt: whether it is known that they are not both 0, which saves the choice.
    """
    step = ops.maximum((high - low) / 255.0, EPSILON)
    zero = ops.round(-low / step)
    bottom, top = -zero * step, (255.0 - zero) * step
    if learnt:
        inside = ops.clip(x, bottom, top)
        return straight_through(inside, ops.round(inside / step) * step)
    known = high > low
    # Without a range its bounds are infinite: a choice between x and its clipped form would have a gradient to trace.
    inside = ops.clip(x, ops.where(known, bottom, -math.inf), ops.where(known, top, math.inf))
    return straight_through(inside, ops.where(known, ops.round(inside / step) * step, x))


def _first_scale(x: Tensor, axes: Axes, alpha: Alpha) -> Tensor:
    scale = 2.0 * ops.max(ops.abs(x), axis=axes, keepdims=True) / 3.0
    return _power_of_two(scale) if alpha == "auto_po2" else scale


def _fitted_scale(magnitude: Tensor, beyond: Tensor, axes: Axes, alpha: Alpha) -> Tensor:
    """The scale that fits trits to weights by least squares, from the weights' magnitudes and the trits', 0 or 1."""
    share = ops.mean(beyond, axis=axes, keepdims=True)
    scale = ops.mean(magnitude * beyond, axis=axes, keepdims=True) / (share + EPSILON)
    return _power_of_two(scale) if alpha == "auto_po2" else scale


def _power_of_two(scale: Tensor) -> Tensor:
    return ops.power(2.0, ops.round(ops.log(scale + EPSILON) / math.log(2.0)))
