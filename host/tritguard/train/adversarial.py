"""Makes adversarial samples to train on, within an L-infinity bound: FGSM with a random start (Wong et al. 2020, arXiv
2001.03994) and PGD (Madry et al. 2018, arXiv 1706.06083).

They are made inside the training step, on the network as it is being trained. Finished models are judged by the attacks
in the package `tritguard.attack` instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tritguard.train.backend import tf
from tritguard.train.inputs import InputGrid
from tritguard.train.losses import cross_entropy

Tensor = Any


def perturbed(
    logits: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    grid: InputGrid,
    *,
    eps: Tensor | float,
    step_size: Tensor | float,
    steps: Tensor | int,
    seed: Tensor,
) -> Tensor:
    """Find samples near x that raise the cross-entropy.

    The search starts at a random point of the ball and takes steps along the sign of the gradient, each projected back
    into the ball. A single step of 1.25 eps is FGSM with a random start.

    Args:
        logits: the model, float32[n, ...] -> float32[n, classes].
        x: float32[n, ...] in input units.
        y: int64[n], labels; or float32[n, classes], probabilities that the output is driven away from, for TRADES.
        grid: the bounds of input values.
        eps, step_size: the radius of the ball and the length of a step, in input units.
        steps: number of gradient steps; with 0 the random start is returned.
        seed: int32[2], which determines the random start.

    Returns:
        float32 of x's shape, with no gradient to x.
    """
    low, high = tf.maximum(x - eps, grid.low), tf.minimum(x + eps, grid.high)
    start = x + eps * tf.random.stateless_uniform(tf.shape(x), seed, -1.0, 1.0)

    def moved(number: Tensor, adversarial: Tensor) -> tuple[Tensor, Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(adversarial)
            loss = cross_entropy(y, logits(adversarial))
        step = step_size * tf.sign(tape.gradient(loss, adversarial))
        return number + 1, tf.clip_by_value(adversarial + step, low, high)

    begin = (tf.constant(0), tf.clip_by_value(start, low, high))
    _, adversarial = tf.while_loop(lambda number, _: number < steps, moved, begin)
    return tf.stop_gradient(adversarial)
