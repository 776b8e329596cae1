"""Recomputes batch-norm statistics for the weights that are deployed.

During training a batch norm sees the outputs of randomly drawn weights, so its moving statistics do not fit the
deterministic ones. Without this step a net can lose most of its accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.train.backend import keras, tf

RECALIBRATION_SAMPLES = 2000


def norm_layers(model: Any) -> list[Any]:
    """The batch-norm layers of a functional model, from input to output."""
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def recalibrate(model: Any, x: NDArray[np.float32], done: Callable[[], None] = lambda: None) -> None:
    """Set the moving statistics of all batch-norm layers to those of their inputs over x.

    One pass is enough: the statistics of a layer are set before its outputs, which the next layers see, are computed.

    Args:
        model: a functional keras.Model.
        x: float32[n, *input_shape], a few thousand real inputs, which are run in one batch.
        done: called after each layer.
    """
    with ExitStack() as measuring:
        for norm in norm_layers(model):
            measuring.enter_context(_measuring(norm, done))
        model(x, training=False)


@contextmanager
def _measuring(norm: Any, done: Callable[[], None]) -> Iterator[None]:
    """Have one batch-norm layer take over the statistics of each input it is called with."""
    call = norm.call

    def measured(inputs: Any, **options: Any) -> Any:
        mean, variance = tf.nn.moments(inputs, axes=list(range(len(inputs.shape) - 1)))
        norm.moving_mean.assign(mean)
        norm.moving_variance.assign(variance)
        done()
        return call(inputs, **options)

    norm.call = measured
    try:
        yield
    finally:
        del norm.call
