"""Compact networks for stochastic ternary quantization (arXiv 2503.08973, whose own networks are not published).

They have full convolutions only, because a trit takes a quarter of an int8 weight, and a depthwise kernel of nine
weights loses far more by being ternary than a kernel of several hundred. Firmware with either network, ternary or int8,
fits 512 KB of flash and 128 KB of RAM; a test builds it.
"""

from __future__ import annotations

from typing import Any

from tritguard.train.backend import keras
from tritguard.train.nets.blocks import classified, conv, normalised

_IMAGE = ((32, 1), (48, 2), (64, 1), (96, 2), (96, 1), (128, 1))  # channels, stride
_KEYWORDS = ((48, 1), (64, 2), (64, 1))


def stq_image(input_shape: tuple[int, ...], classes: int) -> Any:
    """Six 3x3 convolutions for small pictures: 290,000 weights, 28 million MACs at (32, 32, 3).

    Args:
        input_shape: height, width, channels.
        classes: number of outputs.

    Returns:
        keras.Model: float32[n, height, width, channels] -> float32[n, classes], logits.
    """
    inputs = x = keras.Input(input_shape, name="input")
    for index, (channels, stride) in enumerate(_IMAGE, start=1):
        x = normalised(conv(f"conv{index}", channels, 3, stride), x)
    return classified(inputs, x, classes, "stq_image")


def stq_keywords(input_shape: tuple[int, ...], classes: int) -> Any:
    """A 10x4 stem like DS-CNN's and three 3x3 convolutions: 88,000 weights, 5 million MACs at (49, 10, 1).

    Args:
        input_shape: frames, coefficients, 1.
        classes: number of outputs.

    Returns:
        keras.Model: float32[n, frames, coefficients, 1] -> float32[n, classes], logits.
    """
    inputs = keras.Input(input_shape, name="input")
    x = normalised(conv("stem", 48, (10, 4), 2), inputs)
    for index, (channels, stride) in enumerate(_KEYWORDS, start=1):
        x = normalised(conv(f"conv{index}", channels, 3, stride), x)
    return classified(inputs, x, classes, "stq_keywords")
