"""The float model behind a deployed one, asked and differentiated on the deployed model's input grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.emit.bundle import EdgeTensor
from tritguard.predictor import Int8, Outputs

_BATCH = 1000


class FloatModel:
    """A Keras model as a Predictor of int8 inputs, and as a view that attacks take gradients from.

    Its scores tell the label and nothing else: 1 for the class of the highest logit, 0 for the others.

    Args:
        path: a `.keras` file. A softmax at its end is taken off.
        grid: the deployed model's input; the float model takes its real values.
        temperature: logits are divided by it where gradients are taken.

    Attributes:
        input_shape, classes, temperature: see `tritguard.attack.view.GradientView`.

    Raises:
        BadInputError, BadModelError: see `tritguard.convert.archive.load_model`.
    """

    def __init__(self, path: Path, grid: EdgeTensor, temperature: float = 1.0) -> None:
        from tritguard.convert.archive import load_model  # noqa: PLC0415 - imports TensorFlow
        from tritguard.train.backend import tf  # noqa: PLC0415

        self._tf = tf
        self._model = _without_softmax(load_model(path))
        self.input_shape: tuple[int, ...] = tuple(self._model.input.shape[1:])
        self.classes = int(self._model.output.shape[-1])
        self.temperature = temperature
        self._grid = grid
        shape = tf.TensorSpec((None, *self.input_shape), tf.float32)
        self._call: Callable[[Any], Any] = tf.function(self._forward, input_signature=[shape])

    def __call__(self, x: Any, training: bool = False) -> Any:
        """Logits over the temperature of float32[n, *input_shape] in int8 steps, as a TensorFlow tensor."""
        return self._call(x) / self.temperature

    def logits(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits over the temperature, as an array."""
        return np.asarray(self(x), dtype=np.float32)

    def predict(self, x: Int8) -> Outputs:
        """Run int8[n, *input_shape]."""
        parts = [self._call(x[at : at + _BATCH].astype(np.float32)).numpy() for at in range(0, len(x), _BATCH)]
        logits = np.concatenate(parts).astype(np.float64)
        scores = (np.arange(self.classes) == logits.argmax(axis=1)[:, None]).astype(np.int8)
        return Outputs(scores, logits)

    def _forward(self, x: Any) -> Any:
        real = (x - self._grid.zero_point) * np.float32(self._grid.scale)
        return self._model(real, training=False)


def _without_softmax(model: Any) -> Any:
    from tritguard.train.backend import keras  # noqa: PLC0415

    last = model.layers[-1]
    if isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) is keras.activations.softmax:
        if isinstance(last, keras.layers.Softmax | keras.layers.Activation):
            return keras.Model(model.input, last.input)
        last.activation = keras.activations.linear
    return model
