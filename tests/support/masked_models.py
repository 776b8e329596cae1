"""A small classifier, and the same one masked: made to look robust, or hard to attack, without being so.

The task is drawn: ten prototypes of 64 values, and noise. The net is 64-32-10 with ReLU, trained here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tests.support.tflite_builder import ModelBuilder
from tritguard.predictor import Int8, Outputs, Predictor

VALUES, HIDDEN, CLASSES = 64, 32, 10
INPUT_SCALE = 1 / 64
Float = NDArray[np.float64]


@lru_cache(maxsize=1)
def task() -> tuple[Int8, NDArray[np.int64], Int8, NDArray[np.int64]]:
    """Training samples int8[2000, 64] with their labels, then 100 samples to attack with theirs."""
    rng = np.random.default_rng(5)
    prototypes = rng.choice([-20, 20], (CLASSES, VALUES))
    y = rng.integers(0, CLASSES, 2100)
    x = np.clip(prototypes[y] + rng.normal(0, 24, (len(y), VALUES)), -128, 127).astype(np.int8)
    return x[:2000], y[:2000], x[2000:], y[2000:]


@lru_cache(maxsize=1)
def trained() -> tuple[Float, Float]:
    """Float weights [32, 64] and [10, 32] of the task's network."""
    x, y, _, _ = task()
    return fitted(x * INPUT_SCALE, y)


def fitted(
    features: NDArray[np.floating], y: NDArray[np.int64], steps: int = 600, rate: float = 0.5
) -> tuple[Float, Float]:
    """Weights [32, n] and [10, 32] of a network of one hidden layer, by gradient descent on the cross-entropy."""
    rng = np.random.default_rng(0)
    size = features.shape[1]
    rate *= min(1.0, VALUES / size)
    first, second = rng.normal(0, 1.2 / np.sqrt(size), (HIDDEN, size)), rng.normal(0, 0.2, (CLASSES, HIDDEN))
    for step in range(steps):
        rows = rng.integers(0, len(y), 128)
        hidden = np.maximum(features[rows] @ first.T, 0)
        logits = hidden @ second.T
        share = np.exp(logits - logits.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        share[np.arange(128), y[rows]] -= 1
        now = rate * (1 - step / steps) / 128
        back = (share @ second) * (hidden > 0)
        second -= now * share.T @ hidden
        first -= now * back.T @ features[rows]
    return first, second


@dataclass(frozen=True)
class Mask:
    """How the honest net is changed.

    Attributes:
        hidden: the hidden activations' scale is multiplied by it: far above 1 they become stairs, far below they clamp.
        logits: the logits are multiplied by it; the int8 outputs stay the same.
        output: the int8 output's scale is multiplied by it: far below 1 every score clamps.
        softmax: an int8 softmax comes last.
        lowered: subtracted from every logit, which changes no label.
    """

    hidden: float = 1.0
    logits: float = 1.0
    output: float = 1.0
    softmax: bool = False
    lowered: float = 0.0

    def build(self) -> bytes:
        """The int8 `.tflite`."""
        first, second = trained()
        x = task()[0] * INPUT_SCALE
        hidden = np.maximum(x @ first.T, 0)
        hidden_scale = self.hidden * float(hidden.max()) / 255
        logits_scale = self.logits * self.output * float(np.abs(hidden @ second.T).max()) / 127
        builder = ModelBuilder((VALUES,), INPUT_SCALE, 0)
        weights, scales = quantized(first)
        tensor = builder.dense(builder.input, weights, scales, None, (hidden_scale, -128), "RELU")
        weights, scales = quantized(second)
        scales = [scale * self.logits for scale in scales]
        bias = np.array([-self.lowered * self.logits / (hidden_scale * scale) for scale in scales]).round()
        tensor = builder.dense(tensor, weights, scales, bias.astype(np.int32), (logits_scale, 0))
        return builder.build(builder.softmax(tensor) if self.softmax else tensor)


def quantized(weights: Float) -> tuple[Int8, list[float]]:
    scales = np.abs(weights).max(axis=1) / 127
    return np.rint(weights / scales[:, None]).astype(np.int8), [float(np.float32(scale)) for scale in scales]


HONEST = {"plain": Mask(), "with a softmax": Mask(softmax=True)}

MASKED = {
    "saturated logits": Mask(logits=1e4),
    "softmax head": Mask(softmax=True, logits=4.0),
    "tiny output scale": Mask(output=1e-3, lowered=3.0),
    "staircase activations": Mask(hidden=60.0),
    "robust in looks by scaling": Mask(hidden=0.02),
}


class RandomRounding:
    """A model whose last rounding is random, so that no two answers are the same."""

    def __init__(self, model: Predictor) -> None:
        self._model = model
        self._rng = np.random.default_rng(0)

    def predict(self, x: Int8) -> Outputs:
        outputs = self._model.predict(x)
        assert outputs.logits is not None
        rounded = outputs.scores.astype(np.int16) + self._rng.integers(-1, 2, outputs.scores.shape)
        logits = outputs.logits * (1 + 0.01 * self._rng.normal(size=outputs.logits.shape))
        return replace(outputs, scores=np.clip(rounded, -128, 127).astype(np.int8), logits=logits)
