"""Recomputes batch-norm statistics for the weights that are deployed.

During training a batch norm sees the outputs of randomly drawn weights, so its moving statistics do not fit the
deterministic ones. Without this step a net can lose most of its accuracy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.train.backend import keras, tf

RECALIBRATION_SAMPLES = 2000


def norm_layers(model: Any) -> list[Any]:
    """The batch-norm layers of a functional model, from input to output."""
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def recalibrate(model: Any, norm: Any, x: NDArray[np.float32]) -> None:
    """Set the moving statistics of one batch-norm layer to those of its input over x.

    Call this layer by layer from input to output, because the statistics of one layer change the input of the next.

    Args:
        model: a functional keras.Model.
        norm: one of its batch-norm layers.
        x: float32[n, *input_shape], a few thousand real inputs, which are run in one batch.
    """
    before = keras.Model(model.input, norm.input)(x, training=False)
    mean, variance = tf.nn.moments(before, axes=list(range(len(before.shape) - 1)))
    norm.moving_mean.assign(mean)
    norm.moving_variance.assign(variance)
