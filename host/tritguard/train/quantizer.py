"""The ternary rule of QKeras' `ternary` and `stochastic_ternary` with alpha="auto" (QKeras 0.9.0, quantizers.py).

Weights become scale * {-1, 0, 1}. The scale starts at 2/3 of the largest magnitude and is refitted by least squares
(Li et al. 2016, arXiv 1605.04711), the threshold being half of the round before's scale. In training the trit is
drawn: two Bernoulli draws per weight, the likelier to agree the farther the weight lies beyond the threshold.

One difference, on purpose: QKeras takes one scale over everything but the last axis, which for a depthwise kernel
(h, w, channels, multiplier) is one scale for the whole tensor, and channels with small weights die. Here the caller
names the axes a scale is taken over, and depthwise layers take one for each channel.
"""

from __future__ import annotations

from typing import Any

from tritguard.train.backend import keras

ops = keras.ops
Tensor = Any  # keras.KerasTensor or the backend's tensor: float32 here

ROUNDS = 5
EPSILON = 1e-7  # QKeras' K.epsilon(): keeps the scale of an all-zero channel at zero


def ternarize(x: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Trits and scale of weights, as they are deployed: QKeras' `ternary`.

    Args:
        x: float32 weights.
        axes: the axes that share one scale.

    Returns:
        trits: float32 of x's shape, in {-1, 0, 1}.
        scale: float32, x's shape with `axes` of length 1; the least-squares scale of these trits, 0 where all are 0.
    """
    scale = ops.max(ops.abs(x), axis=axes, keepdims=True) * (2.0 / 3.0)
    trits = ops.zeros_like(x)
    for _ in range(ROUNDS):
        trits = ops.where(ops.abs(x) > scale / 2.0, ops.sign(x), 0.0)
        scale = ops.mean(x * trits, axis=axes, keepdims=True) / (
            ops.mean(ops.abs(trits), axis=axes, keepdims=True) + EPSILON
        )
    return trits, scale


def draw_probabilities(x: Tensor, scale: Tensor, axes: tuple[int, ...], temperature: float) -> tuple[Tensor, Tensor]:
    """Probabilities of the two Bernoulli draws of QKeras' `stochastic_ternary`.

    Both draws 1 make the trit +1, both 0 make it -1, and 0 otherwise, so its mean is p_upper + p_lower - 1.

    Returns:
        p_upper, p_lower: float32 of x's shape, sigmoid(temperature * (x -+ scale / 2) / std(x)).
    """
    std = ops.std(x, axis=axes, keepdims=True) + EPSILON
    steepness = temperature / std
    return ops.sigmoid(steepness * (x - scale / 2.0)), ops.sigmoid(steepness * (x + scale / 2.0))


def draw_trits(x: Tensor, scale: Tensor, axes: tuple[int, ...], temperature: float, seed: Any) -> Tensor:
    """Trits drawn at random, float32 of x's shape in {-1, 0, 1}; `seed` as `keras.random` takes it."""
    p_upper, p_lower = draw_probabilities(x, scale, axes, temperature)
    uniform = keras.random.uniform((2, *x.shape), seed=seed)  # in one call: two with one seed would be the same
    return ops.cast(uniform[0] < p_upper, x.dtype) + ops.cast(uniform[1] < p_lower, x.dtype) - 1.0


def straight_through(x: Tensor, quantized: Tensor) -> Tensor:
    """`quantized` in the forward pass, the identity of x in the backward pass."""
    return x + ops.stop_gradient(quantized - x)
