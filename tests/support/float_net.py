"""A small float network on handwritten digits that our attacks and ART's are run on alike."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tritguard.attack import Target
from tritguard.attack.view import GradientView
from tritguard.predictor import Int8, Outputs


class FloatNet:
    """A perceptron with one hidden layer; a Predictor with logits, on inputs in int8 steps, 16 x 16 x 3.

    It sees means of 2 x 2 pixels and three channels."""

    def __init__(self, first: NDArray[Any], bias: NDArray[Any], second: NDArray[Any]) -> None:
        self.first, self.bias, self.second = first, bias, second

    def logits(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """float32[n, 10] for inputs in int8 steps, which need not be whole."""
        inside = np.clip(x, -128, 127)  # ART's ZOO looks beyond the range
        means = inside.reshape(len(x), 8, 2, 8, 2, 3).mean(axis=(2, 4, 5))
        pixels = (means.reshape(len(x), 64) + 128) / 255
        return np.asarray(np.maximum(pixels @ self.first + self.bias, 0) @ self.second, np.float32)

    def predict(self, x: Int8) -> Outputs:
        """Scores that only show the label, because rounding would hide what the float logits show."""
        logits = self.logits(x).astype(np.float64)
        scores = np.zeros(logits.shape, np.int8)
        scores[np.arange(len(logits)), logits.argmax(axis=1)] = 1
        return Outputs(scores, logits)


class FloatView(GradientView):
    """The network with gradients: inputs are in int8 steps, and nothing is rounded."""

    def __init__(self, net: FloatNet) -> None:
        from tritguard.train.backend import tf  # noqa: PLC0415 - takes seconds to import

        def logits(x: Any) -> Any:
            pixels = (
                tf.reshape(tf.nn.avg_pool2d(tf.reduce_mean(x, axis=3, keepdims=True), 2, 2, "VALID"), (-1, 64)) + 128
            ) / 255
            hidden = tf.nn.relu(pixels @ tf.constant(net.first, tf.float32) + tf.constant(net.bias, tf.float32))
            return hidden @ tf.constant(net.second, tf.float32)

        self._tf = tf
        self.temperature = 1.0
        self.input_shape = (16, 16, 3)
        self.classes = 10
        self._call = tf.function(logits, input_signature=[tf.TensorSpec((None, 16, 16, 3), tf.float32)])


@lru_cache(maxsize=1)
def float_net() -> tuple[FloatNet, Int8, NDArray[np.int64]]:
    """The network, and its test samples: int8[n, 16, 16, 3] and labels."""
    datasets = pytest.importorskip("sklearn.datasets", reason="comes with ART")
    pixels, labels = datasets.load_digits(return_X_y=True)
    x = np.rint(pixels / 16 * 255 - 128).astype(np.int8)
    rng = np.random.default_rng(0)
    first, bias = rng.normal(size=(64, 100)), rng.normal(size=100)
    hidden = np.maximum((x[:1200] + 128.0) / 255 @ first + bias, 0)
    # Ridge regression on random features: no training that would take time or differ between machines.
    second = np.linalg.solve(hidden.T @ hidden + np.eye(100), hidden.T @ (10 * np.eye(10)[labels[:1200]] - 1))
    large = x[1200:].reshape(-1, 8, 8, 1).repeat(2, axis=1).repeat(2, axis=2).repeat(3, axis=3)
    return FloatNet(first, bias, second), large, labels[1200:].astype(np.int64)


def target(count: int, seed: int = 0) -> Target:
    """The first `count` test samples that the network classifies correctly."""
    net, x, y = float_net()
    right = np.flatnonzero(net.predict(x).labels == y)[:count]
    return Target(net, None, x[right], y[right], seed)


def white_box(count: int) -> Target:
    """The same with gradients."""
    black = target(count)
    return replace(black, view=FloatView(float_net()[0]))


def art_classifier(net: FloatNet) -> Any:
    """The same network as the kind of black box that ART attacks."""
    from art.estimators.classification import BlackBoxClassifierNeuralNetwork  # noqa: PLC0415 - slow to import

    return BlackBoxClassifierNeuralNetwork(
        net.logits, (16, 16, 3), nb_classes=10, clip_values=(-128.0, 127.0), channels_first=False
    )
