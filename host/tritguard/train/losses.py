"""The losses that a training minimises: cross-entropies, divergences between outputs, and those of TRADES and MART."""

from __future__ import annotations

from typing import Any

from tritguard.train.backend import keras, tf

Tensor = Any

_LEAST = 1e-12  # the least probability whose logarithm is taken

_of_labels = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def cross_entropy(y: Tensor, logits: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """The mean cross-entropy, a float32 scalar.

    Args:
        y: int64[n], labels; or float32[n, classes], probabilities.
        logits: float32[n, classes].
        smoothing: the share of each label that is spread evenly over all classes.
    """
    if y.shape.rank == 2:
        return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(y, logits))
    if not smoothing:
        return _of_labels(y, logits)
    evenly = tf.reduce_mean(tf.reduce_logsumexp(logits, axis=-1) - tf.reduce_mean(logits, axis=-1))
    return (1 - smoothing) * _of_labels(y, logits) + smoothing * evenly


def divergences(wanted: Tensor, logits: Tensor) -> Tensor:
    """The Kullback-Leibler divergence of each output from the one wanted, float32[n]; both are logits [n, classes]."""
    target = tf.nn.softmax(wanted)
    return tf.reduce_sum(target * (tf.nn.log_softmax(wanted) - tf.nn.log_softmax(logits)), axis=-1)


def trades(clean: Tensor, adversarial: Tensor) -> Tensor:
    """The mean divergence of the outputs on adversarial samples from those on clean ones, a float32 scalar.

    The gradient goes to both (Zhang et al. 2019, 1901.08573). TRADES adds beta times this to the cross-entropy.
    """
    return tf.reduce_mean(divergences(clean, adversarial))


def mart(y: Tensor, clean: Tensor, adversarial: Tensor) -> tuple[Tensor, Tensor]:
    """The two terms of MART (Wang et al. 2020), float32 scalars; MART adds beta times the second to the first.

    Args:
        y: int64[n], labels.
        clean, adversarial: float32[n, classes], logits.

    Returns:
        The boosted cross-entropy on adversarial samples, which also lowers the likeliest wrong class; and the mean of
        the divergences that `trades` has, each times the clean sample's probability of being wrong.
    """
    labels = tf.one_hot(y, adversarial.shape[-1])
    probabilities = tf.nn.softmax(adversarial)
    runner_up = tf.reduce_max(probabilities * (1 - labels), axis=-1)
    boosted = _of_labels(y, adversarial) - tf.reduce_mean(tf.math.log(tf.maximum(1 - runner_up, _LEAST)))
    unsure = 1 - tf.reduce_sum(tf.nn.softmax(clean) * labels, axis=-1)
    return boosted, tf.reduce_mean(divergences(clean, adversarial) * unsure)


def distillation(teacher: Tensor, logits: Tensor, temperature: float) -> Tensor:
    """The mean divergence from a teacher's outputs, both softened, times temperature^2 (Hinton et al. 2015)."""
    return temperature**2 * tf.reduce_mean(divergences(teacher / temperature, logits / temperature))
