"""Watches a training against FGSM for catastrophic overfitting (Wong et al. 2020, arXiv 2001.03994, section 5.4).

A network may learn to hold against the single step that it is trained with, and against nothing else: within an epoch
its accuracy under PGD falls to nearly nothing, and that under FGSM stays or rises. So both are measured after each
epoch, on samples that are not trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.train.adversarial import perturbed
from tritguard.train.backend import compiled, tf
from tritguard.train.config import TrainConfig
from tritguard.train.inputs import InputGrid

FGSM, PGD = "fgsm_accuracy", "pgd_accuracy"
SAMPLES = 200  # with PGD's steps they take 3 % of the time of an epoch of 50,000
_STEPS = 10
_FALL = 0.5  # a fall of PGD's accuracy to this share of its best,
_HELD = 0.9  # while FGSM's is at least this share of its best


class Watch:
    """Attacks the network as it is in training: float or drawn weights, and batch norms with the batch's statistics.

    Args:
        model: keras.Model that gives logits.
        config: the settings; the attacks have the radius of `config.adversarial`.
        grid: the values of the model's input.
        x: float32[n, ...], held-out samples in input units.
        y: int64[n], their labels.
    """

    def __init__(
        self, model: Any, config: TrainConfig, grid: InputGrid, x: NDArray[np.float32], y: NDArray[np.int64]
    ) -> None:
        self._batch = tf.constant(x), tf.constant(y)
        eps = config.adversarial.eps * grid.step
        seed = tf.constant([config.seed % 2**31, 0])

        def logits(inputs: Any) -> Any:
            return model(inputs, training=True)

        def right(inputs: Any, labels: Any, steps: Any, step_size: Any) -> Any:
            attacked = perturbed(logits, inputs, labels, grid, eps=eps, step_size=step_size, steps=steps, seed=seed)
            return tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits(attacked), axis=-1), labels), tf.float32))

        self._right = compiled(right)
        # Tensors, so that one trace does for both attacks.
        self._attacks = {
            name: (tf.constant(steps), tf.constant(size, tf.float32))
            for name, steps, size in ((FGSM, 1, 1.25 * eps), (PGD, _STEPS, 2.5 * eps / _STEPS))
        }

    def __call__(self) -> dict[str, float]:
        """The shares of the samples that are classified correctly after FGSM and after PGD."""
        return {name: float(self._right(*self._batch, *attack)) for name, attack in self._attacks.items()}


def overfitting(history: Sequence[dict[str, float]]) -> list[str]:
    """One finding for the first epoch in which the network overfitted to FGSM's step, or none."""
    for number, epoch in enumerate(history):
        if PGD not in epoch:
            continue
        earlier = history[: number + 1]
        best_pgd, best_fgsm = (max(each[name] for each in earlier) for name in (PGD, FGSM))
        if epoch[PGD] < _FALL * best_pgd and epoch[FGSM] >= _HELD * best_fgsm:
            return [
                f"catastrophic overfitting in epoch {number + 1}: accuracy under PGD fell from {best_pgd:.0%} to "
                f"{epoch[PGD]:.0%}, under FGSM it is {epoch[FGSM]:.0%}; train against a smaller eps or with pgd"
            ]
    return []
