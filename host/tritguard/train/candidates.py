"""Generates networks that a post-training quantizer could have made instead of the one it made, and their losses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.progress import Progress
from tritguard.train.backend import compiled, keras, tf
from tritguard.train.config import TrainConfig
from tritguard.train.layer_graph import kernel_axes, weighted_layers
from tritguard.train.quanos import Width, best_scale, rounded

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Kernels = list[Float32]

_STEPS_BETWEEN = 5  # training steps from one candidate to the next
_RATE = 0.1  # times the training's learning rate: candidates are neighbours of the trained network
_BATCH = 500


def candidate_losses(
    model: Any,
    train: tuple[Float32, Int64],
    asked: tuple[Float32, Int64],
    config: TrainConfig,
    *,
    widths: tuple[Width, ...],
    count: int,
    seed: int,
    progress: Progress,
) -> dict[Width, Float64]:
    """Compute the losses of the trained network and of the networks it becomes in further training, all quantized.

    Every candidate is rounded to the grid of the trained network's weights, so there are finitely many networks for
    each width. Biases and batch norms do not change, so candidates differ in their kernels only.

    Args:
        model: trained keras.Model that gives logits; its kernels are changed.
        train: float32[m, *input_shape] and int64[m] labels for the further training.
        asked: float32[n, *input_shape] and int64[n] labels whose losses are computed.
        config: the settings of the model's training. The further steps minimise the cross-entropy by Adam with the same
            batch size and a tenth of the learning rate.
        widths: numbers of bits of a weight; 2 bits are ternary.
        count: number of candidates of each width, of which the trained network is the first.
        seed: determines the batches.
        progress: called with (candidates done, count).

    Returns:
        The cross-entropies, float64[distinct candidates, n], by width.
    """
    layers = weighted_layers(model)
    scales = {width: [best_scale(layer.kernel.numpy(), width, kernel_axes(layer)) for layer in layers]
              for width in widths}  # fmt: skip
    losses: dict[Width, list[Float64]] = {width: [] for width in widths}
    known: set[tuple[Width, bytes]] = set()
    for done, kernels in enumerate(_iterates(model, layers, train, config, count, seed)):
        progress(done, count)
        for width in widths:
            quantized = [rounded(kernel, scale, width) for kernel, scale in zip(kernels, scales[width], strict=True)]
            identity = width, b"".join(kernel.tobytes() for kernel in quantized)
            if identity not in known:
                known.add(identity)
                _set(layers, quantized)
                losses[width].append(_cross_entropies(model, *asked))
        _set(layers, kernels)
    progress(count, count)
    return {width: np.array(rows) for width, rows in losses.items()}


def _iterates(
    model: Any, layers: list[Any], train: tuple[Float32, Int64], config: TrainConfig, count: int, seed: int
) -> Iterator[Kernels]:
    """Yield the kernels as they are, then after every few steps of further training."""
    variables = [layer.kernel for layer in layers]
    optimizer = keras.optimizers.Adam(config.learning_rate * _RATE)
    optimizer.build(variables)

    def step(x: Any, y: Any) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(_losses(model, x, y))
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    run, rng, (x, y) = compiled(step), np.random.default_rng(seed), train
    for number in range(count):
        if number:
            for _ in range(_STEPS_BETWEEN):
                rows = rng.choice(len(x), min(config.batch_size, len(x)), replace=False)
                run(tf.constant(x[rows]), tf.constant(y[rows]))
        yield [variable.numpy() for variable in variables]


def _set(layers: list[Any], kernels: Kernels) -> None:
    for layer, kernel in zip(layers, kernels, strict=True):
        layer.kernel.assign(kernel)


def _cross_entropies(model: Any, x: Float32, y: Int64) -> Float64:
    parts = [_losses(model, x[at : at + _BATCH], y[at : at + _BATCH]) for at in range(0, len(x), _BATCH)]
    return np.concatenate([np.asarray(part) for part in parts]).astype(np.float64)


def _losses(model: Any, x: Any, y: Any) -> Any:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(y, model(x, training=False))
