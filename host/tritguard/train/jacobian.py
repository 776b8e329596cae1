"""Jacobian regularization by random projections (Hoffman et al. 2019, arXiv 1908.02729).

For a random v on the unit sphere in the space of the C logits, E ||J^T v||^2 = ||J||_F^2 / C, and J^T v takes one
backward pass. The same pass gives J^T v with respect to any activation of the network, which the per-layer terms use.
"""

from __future__ import annotations

from typing import Any

from tritguard.train.backend import keras, tf
from tritguard.train.layer_graph import weighted_layers

Tensor = Any


def probe(model: Any) -> Any:
    """The model with further outputs: the inputs of all its layers with weights except the first.

    Returns:
        keras.Model: x -> [logits, *activations].
    """
    points: list[Tensor] = []
    for layer in weighted_layers(model)[1:]:
        points += [layer.input] * all(layer.input is not point for point in points)
    return keras.Model(model.input, [model.output, *points])


def squared_norms(tape: Any, logits: Tensor, points: list[Tensor], *, projections: int, seed: Tensor) -> list[Tensor]:
    """Estimate the squared Frobenius norms of the logits' Jacobians, averaged over the batch.

    If a batch norm uses the batch's own statistics, the logits of a sample depend on other samples too. Like the
    paper's code, this counts all that reaches a sample's own gradient.

    Args:
        tape: a tf.GradientTape that watched the computation from `points` to `logits`; persistent if projections > 1.
        logits: float32[n, C].
        points: tensors float32[n, ...] with respect to which the Jacobians are taken.
        projections: number of random directions for each sample; more of them reduce the variance of the estimate.
        seed: int32[2], which determines the directions.

    Returns:
        For each point a float32 scalar that can be differentiated.
    """
    n, classes = tf.unstack(tf.cast(tf.shape(logits), logits.dtype))
    shape = tf.concat([[projections], tf.shape(logits)], axis=0)
    directions = tf.math.l2_normalize(tf.random.stateless_normal(shape, seed), axis=-1)
    sums = [tf.constant(0.0) for _ in points]
    for index in range(projections):
        gradients = tape.gradient(logits, points, output_gradients=directions[index])
        sums = [total + tf.reduce_sum(tf.square(g)) for total, g in zip(sums, gradients, strict=True)]
    return [classes * total / (projections * n) for total in sums]
