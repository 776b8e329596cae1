"""Adversarial samples to train on: FGSM with random start (Wong et al. 2020, arXiv 2001.03994), PGD (Madry et al.
2018, arXiv 1706.06083), both L-infinity.

These are made inside the training step, on the network in training, thousands at a time. What judges a finished model
is the package `tritguard.attack`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tritguard.train.backend import keras, tf
from tritguard.train.inputs import InputGrid

Tensor = Any

cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def perturbed(
    logits: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    grid: InputGrid,
    *,
    eps: Tensor | float,
    step_size: Tensor | float,
    steps: int,
    seed: Tensor,
) -> Tensor:
    """Samples near x that raise the cross-entropy.

    Starts at a random point of the ball, then takes steps along the gradient's sign, each projected back. One step
    of 1.25 eps is FGSM with random start.

    Args:
        logits: the model, float32[n, ...] -> float32[n, classes].
        x: float32[n, ...] in input units.
        y: int64[n].
        grid: bounds of the input's values.
        eps, step_size: in input units.
        steps: gradients taken; 0 leaves the random start.
        seed: int32[2] of the random start; the same seed, the same start.

    Returns:
        float32 of x's shape, without a gradient to x.
    """
    low, high = tf.maximum(x - eps, grid.low), tf.minimum(x + eps, grid.high)
    start = x + eps * tf.random.stateless_uniform(tf.shape(x), seed, -1.0, 1.0)
    adversarial = tf.clip_by_value(start, low, high)
    for _ in tf.range(steps):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(adversarial)
            loss = cross_entropy(y, logits(adversarial))
        step = step_size * tf.sign(tape.gradient(loss, adversarial))
        adversarial = tf.clip_by_value(adversarial + step, low, high)
    return tf.stop_gradient(adversarial)
