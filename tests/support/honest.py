"""A zoo of honest networks: none hides anything, so none may be condemned, however well or badly it does.

Most are small classifiers of the drawn task of `masked_models`, trained here within a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tests.support.masked_models import INPUT_SCALE, VALUES, quantized, task
from tests.support.shared import shared_file
from tests.support.tflite_builder import ModelBuilder
from tritguard.predictor import Int8

Float = NDArray[np.float64]
Labels = NDArray[np.int64]
ATTACKED = 100  # the last samples of the task, which no network is trained on
_BATCH = 128


@dataclass(frozen=True)
class Case:
    """A network, and what it is attacked with.

    Attributes:
        content: the int8 `.tflite`.
        x: int8[n, *input_shape].
        y: int64[n].
        eps: bounds, in int8 steps.
    """

    content: bytes
    x: Int8
    y: Labels
    eps: tuple[int, ...] = (8, 24)


@dataclass(frozen=True)
class Net:
    """A dense network of one hidden layer with ReLU, or of none.

    Attributes:
        hidden: the number of hidden units; 0 for a linear network.
        outputs: the number of outputs, of which the last ones may belong to no class.
        label: gives the labels of the task's ten classes; samples of the label -1 are left out.
        eps: trained against one step of this many int8 steps along the sign of the gradient, if that is not 0.
        ternary: the weights of the hidden layer are three values a row.
        softmax: an int8 softmax comes last.
        steps: of the training.
    """

    hidden: int = 32
    outputs: int = 10
    label: Callable[[Labels], Labels] = lambda y: y
    eps: int = 0
    ternary: bool = False
    softmax: bool = False
    steps: int = 400

    def case(self) -> Case:
        """Train it and write it down."""
        x, y = np.concatenate([task()[0], task()[2]]), self.label(np.concatenate([task()[1], task()[3]]))
        x, y = x[y >= 0], y[y >= 0]
        seen, labels = x[:-ATTACKED] * INPUT_SCALE, y[:-ATTACKED]
        return Case(self._build(seen, self._train(seen, labels)), x[-ATTACKED:], y[-ATTACKED:])

    def _train(self, x: Float, y: Labels) -> list[Float]:
        """The weights of each layer, by plain gradient descent on the cross-entropy."""
        rng = np.random.default_rng(0)
        first = rng.normal(0, 0.15, (self.hidden or self.outputs, VALUES))
        layers = [first, rng.normal(0, 0.2, (self.outputs, self.hidden))] if self.hidden else [first]
        for step in range(self.steps):
            if self.ternary and step == self.steps // 2:
                layers[0] = _three_values(layers[0])
            rows = rng.integers(0, len(x), _BATCH)
            batch = x[rows]
            if self.eps:
                batch = batch + self.eps * INPUT_SCALE * np.sign(_gradients(layers, batch, y[rows])[1])
            rate = 0.5 * (1 - step / self.steps)
            for place, slope in enumerate(_gradients(layers, batch, y[rows])[0]):
                if not (self.ternary and place == 0 and step >= self.steps // 2):
                    layers[place] -= rate * slope
        return layers

    def _build(self, x: Float, layers: list[Float]) -> bytes:
        builder = ModelBuilder((VALUES,), INPUT_SCALE, 0)
        tensor, values = builder.input, x
        if self.hidden:
            values = np.maximum(values @ layers[0].T, 0)
            weights, scales = quantized(layers[0])
            tensor = builder.dense(tensor, weights, scales, None, (float(values.max()) / 255, -128), "RELU")
        weights, scales = quantized(layers[-1])
        scale = float(np.abs(values @ layers[-1].T).max()) / 127
        tensor = builder.dense(tensor, weights, scales, None, (scale, 0))
        return builder.build(builder.softmax(tensor) if self.softmax else tensor)


def _gradients(layers: list[Float], x: Float, y: Labels) -> tuple[list[Float], Float]:
    """The gradients of the mean cross-entropy with respect to each layer's weights, and to the inputs."""
    hidden = np.maximum(x @ layers[0].T, 0) if len(layers) > 1 else x
    logits = hidden @ layers[-1].T
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    share[np.arange(len(y)), y] -= 1
    share /= len(y)
    if len(layers) == 1:
        return [share.T @ x], share @ layers[0]
    back = (share @ layers[1]) * (hidden > 0)
    return [back.T @ x, share.T @ hidden], back @ layers[0]


def _three_values(weights: Float) -> Float:
    size = np.abs(weights)
    kept = size > 0.7 * size.mean(axis=1, keepdims=True)
    scale = (size * kept).sum(axis=1, keepdims=True) / kept.sum(axis=1, keepdims=True)
    return np.asarray(np.sign(weights) * kept * scale)


def _unbalanced(y: Labels) -> Labels:
    """Class 1 is one class of ten, so that a constant answer is right on nine samples of ten."""
    return (y == 3).astype(np.int64)


def _convolutional() -> Case:
    """A random convolution on the 64 values as an image of 8 x 8, and a dense layer fitted to what it gives."""
    x, y, attacked, labels = task()
    rng = np.random.default_rng(1)
    kernel = rng.normal(0, 0.3, (16, 3, 3, 1))
    images = np.concatenate([x, attacked]).reshape(-1, 8, 8) * INPUT_SCALE
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2))
    seen = np.maximum(np.einsum("nijkl,ckl->nijc", windows, kernel[..., 0]), 0).reshape(len(images), -1)
    target = 4 * np.eye(10)[y] - 2
    dense = np.linalg.solve(seen[: len(x)].T @ seen[: len(x)] + 20 * np.eye(seen.shape[1]), seen[: len(x)].T @ target).T
    builder = ModelBuilder((8, 8, 1), INPUT_SCALE, 0)
    weights, scales = quantized(kernel.reshape(16, 9))
    tensor = builder.conv(
        builder.input, weights.reshape(16, 3, 3, 1), scales, None, (float(seen.max()) / 255, -128), same=False,
        activation="RELU",
    )  # fmt: skip
    tensor = builder.reshape(tensor, (seen.shape[1],))
    weights, scales = quantized(dense)
    tensor = builder.dense(tensor, weights, scales, None, (float(np.abs(seen @ dense.T).max()) / 127, 0))
    return Case(builder.build(tensor), attacked.reshape(-1, 8, 8, 1), labels)


def _unbreakable() -> Case:
    """Linear, with an exact worst case of 100 % at eps 64: a class's weights are the signs of its prototype."""
    rng = np.random.default_rng(3)
    signs = rng.choice([-1, 1], (10, VALUES))
    y = np.arange(ATTACKED) % 10
    x = (100 * signs[y] + rng.integers(-8, 9, (ATTACKED, VALUES))).astype(np.int8)
    builder = ModelBuilder((VALUES,), INPUT_SCALE, 0)
    return Case(
        builder.build(builder.dense(builder.input, signs.astype(np.int8), [1 / 64] * 10, None, (0.02, 0))), x, y
    )


def _published(model: Literal["dscnn", "resnet8"]) -> Case:
    """MLPerf Tiny's int8 networks, with data of theirs."""
    content = shared_file(f"models/{model}_int8.tflite").read_bytes()
    if model == "dscnn":
        spoken = np.load(shared_file("data/gsc_kws01.npz"))
        return Case(content, spoken["mfcc_int8"][:30], spoken["labels"][:30].astype(np.int64), (1,))
    pictures = np.load(shared_file("data/cifar10_lossless_subset.npz"))
    x = (pictures["test_images"][:16].astype(np.int16) - 128).astype(np.int8)
    return Case(content, x, pictures["test_labels"][:16].astype(np.int64), (2,))


ZOO: dict[str, Callable[[], Case]] = {
    "linear": Net(hidden=0).case,
    "tiny": Net(hidden=4).case,
    "hardly trained": Net(steps=25).case,
    "with a softmax": Net(softmax=True).case,
    "two classes": Net(hidden=16, outputs=2, label=lambda y: y % 2).case,
    "nine to one": Net(hidden=16, outputs=2, label=_unbalanced).case,
    "outputs without a class": Net(outputs=10, label=lambda y: np.where(y < 6, y, -1)).case,
    "ternary": Net(ternary=True).case,
    "trained against an attack": Net(eps=16, steps=600).case,
    "convolutional": _convolutional,
    "unbreakable": _unbreakable,
    "MLPerf Tiny's DS-CNN": lambda: _published("dscnn"),
    "MLPerf Tiny's ResNet8": lambda: _published("resnet8"),
}
