"""Jacobian regularization by random projections (Hoffman et al. 2019, arXiv 1908.02729).

For a random v on the unit sphere of the C logits' space, E ||J^T v||^2 = ||J||_F^2 / C, and J^T v is one backward
pass. The same pass gives it with respect to any activation of the network: the per-layer terms.
"""

from __future__ import annotations

from typing import Any

from tritguard.train.backend import keras, tf

Tensor = Any

_WEIGHTED = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)


def probe(model: Any) -> Any:
    """The model with further outputs: the inputs of its layers with weights, the first of these left out.

    Returns:
        keras.Model: x -> [logits, *activations].
    """
    points: list[Tensor] = []
    for layer in [layer for layer in model.layers if isinstance(layer, _WEIGHTED)][1:]:
        points += [layer.input] * all(layer.input is not point for point in points)
    return keras.Model(model.input, [model.output, *points])


def squared_norms(tape: Any, logits: Tensor, points: list[Tensor], *, projections: int, seed: Tensor) -> list[Tensor]:
    """Estimate the squared Frobenius norms of the logits' Jacobians, mean over the batch.

    Where batch-norm runs on the batch's own statistics, a sample's logits depend on other samples too; like the
    paper's code this counts what its own gradient picks up.

    Args:
        tape: a tf.GradientTape that watched the way from `points` to `logits`; persistent if projections > 1.
        logits: float32[n, C].
        points: float32[n, ...] each; the Jacobians are with respect to them.
        projections: random directions a sample; the estimate's variance falls with their number.
        seed: int32[2]; the same seed, the same directions.

    Returns:
        For each point a float32 scalar, differentiable.
    """
    n, classes = tf.unstack(tf.cast(tf.shape(logits), logits.dtype))
    shape = tf.concat([[projections], tf.shape(logits)], axis=0)
    directions = tf.math.l2_normalize(tf.random.stateless_normal(shape, seed), axis=-1)
    sums = [tf.constant(0.0) for _ in points]
    for index in range(projections):
        gradients = tape.gradient(logits, points, output_gradients=directions[index])
        sums = [total + tf.reduce_sum(tf.square(g)) for total, g in zip(sums, gradients, strict=True)]
    return [classes * total / (projections * n) for total in sums]
