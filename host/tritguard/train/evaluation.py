"""Measures a trained network in its float, int8 and ternary forms: clean accuracy, and accuracy under a quick PGD.

The int8 and ternary forms round weights and activations like TFLite, but compute in float. The deployed network is
measured by `tritguard attack`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.data import Dataset
from tritguard.train.adversarial import perturbed
from tritguard.train.backend import compiled, tf
from tritguard.train.config import PGD_SAMPLES, Accuracy, QuantizeConfig, TrainConfig
from tritguard.train.inputs import InputGrid, TrainingSet, input_units
from tritguard.train.quantize import observe_ranges, plain, quantize, settled, unrounded
from tritguard.train.recalibrate import recalibrate

PGD_STEPS = 10
_BATCH = 250  # small, so that the outputs of layers stay in the processor's cache


def forms(config: QuantizeConfig, *, all_forms: bool = True) -> dict[str, QuantizeConfig]:
    """The forms in which a trained network is evaluated, by name. The last one ships; it is the only one if not all."""
    float_form = QuantizeConfig(weights="none", activations="float")
    int8_form = QuantizeConfig(weights="none", activations="int8")
    ternary_form = config.model_copy(update={"activations": "int8"})
    found = {"float": float_form, "int8": int8_form} | ({"ternary": ternary_form} if config.weights != "none" else {})
    return found if all_forms else dict(list(found.items())[-1:])


def evaluate(
    model: Any,
    config: TrainConfig,
    samples: TrainingSet,
    statistics: NDArray[np.float32],
    dataset: Dataset,
    done: Callable[[], None],
    *,
    all_forms: bool = True,
) -> dict[str, Accuracy]:
    """Measure the accuracies of each form of a network, after recomputing its batch-norm statistics and ranges.

    Args:
        model: the trained network as it is stored.
        config: the settings of its training. The radius of PGD's ball is `config.adversarial.eps`, whose default is 8
            steps of the int8 grid.
        samples: the samples it was trained on; the first ones, those for calibration, give the ranges.
        statistics: float32[n, ...], the inputs that give the batch norms' statistics.
        dataset: the data set with the test samples. Clean accuracy is on all of them, PGD's on 256 drawn with the seed.
        done: called after each form.
        all_forms: measure every form, not only the one that ships; each takes seconds to trace.

    Returns:
        The accuracies by the name of the form.
    """
    net = plain(model)
    accuracies = {}
    for name, form in forms(config.quantize, all_forms=all_forms).items():
        deployed = quantize(net, form, (samples.grid.low, samples.grid.high))
        with settled(deployed):
            with unrounded(deployed):
                recalibrate(deployed, statistics)
            observe_ranges(deployed, input_units(samples.x[: config.calibration]))
            accuracies[name] = _accuracy(deployed, config, samples.grid, dataset)
        done()
    return accuracies


def _accuracy(model: Any, config: TrainConfig, grid: InputGrid, dataset: Dataset) -> Accuracy:
    inputs = tf.TensorSpec((None, *dataset.x_test.shape[1:]), tf.float32)  # one trace for batches of all sizes
    forward = functools.partial(model, training=False)
    logits = compiled(forward, [inputs])
    chosen = np.random.default_rng(config.seed).permutation(len(dataset.x_test))[:PGD_SAMPLES]
    eps = config.adversarial.eps * grid.step

    @compiled
    def attack(x: Any, y: Any) -> Any:
        step_size = 2.5 * eps / PGD_STEPS
        seed = tf.constant([config.seed % 2**31, 0])
        # Not `logits`: the gradient of a compiled function inside another takes longer to trace than all else here.
        return perturbed(forward, x, y, grid, eps=eps, step_size=step_size, steps=PGD_STEPS, seed=seed)

    x, y = tf.constant(input_units(dataset.x_test[chosen])), dataset.y_test[chosen]
    return Accuracy(
        clean=_share_right(logits, input_units(dataset.x_test), dataset.y_test),
        pgd=_share_right(logits, np.asarray(attack(x, y)), y),
    )


def _share_right(logits: Any, x: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    starts = range(0, len(x), _BATCH)
    right = [np.asarray(logits(x[i : i + _BATCH])).argmax(axis=1) == y[i : i + _BATCH] for i in starts]
    return float(np.concatenate(right).mean())
