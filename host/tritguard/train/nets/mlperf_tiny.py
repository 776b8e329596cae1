"""MLPerf Tiny's networks for pictures and keywords (Banbury et al. 2021, arXiv 2106.07597), to be trained here.

Their layers are those of github.com/mlcommons/tiny, without what only training uses there (dropout, weight decay),
without the biases in front of batch norms, which have biases themselves, and without the softmax.
"""

from __future__ import annotations

from typing import Any

from tritguard.train.backend import keras
from tritguard.train.nets.blocks import classified, conv, depthwise, normalised

layers = keras.layers

_DSCNN_CHANNELS = 64
_DSCNN_BLOCKS = 4


def resnet8(input_shape: tuple[int, ...], classes: int) -> Any:
    """ResNet8: a stem of 16 channels and three residual blocks of 16, 32 and 64 channels, the last two with stride 2.

    Args:
        input_shape: height, width, channels; (32, 32, 3) in MLPerf Tiny.
        classes: number of outputs; 10 in MLPerf Tiny.

    Returns:
        keras.Model: float32[n, height, width, channels] -> float32[n, classes], logits. It takes 12.5 million MACs for
            MLPerf Tiny's shape.
    """
    inputs = keras.Input(input_shape, name="input")
    x = normalised(conv("stem", 16, 3), inputs)
    for index, (channels, stride) in enumerate(((16, 1), (32, 2), (64, 2)), start=1):
        name = f"block{index}"
        y = normalised(conv(f"{name}_conv1", channels, 3, stride), x)
        y = normalised(conv(f"{name}_conv2", channels, 3), y, relu=False)
        if stride > 1:  # there is no batch norm here, hence a bias
            x = layers.Conv2D(channels, 1, strides=stride, padding="same", name=f"{name}_shortcut")(x)
        x = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))
    return classified(inputs, x, classes, "resnet8")


def dscnn(input_shape: tuple[int, ...], classes: int) -> Any:
    """DS-CNN (Zhang et al. 2017, arXiv 1711.07128): a 10x4 stem and four separable blocks of 64 channels.

    Args:
        input_shape: frames, coefficients, 1; (49, 10, 1) in MLPerf Tiny.
        classes: number of outputs; 12 in MLPerf Tiny.

    Returns:
        keras.Model: float32[n, frames, coefficients, 1] -> float32[n, classes], logits. It takes 2.7 million MACs for
            MLPerf Tiny's shape.
    """
    inputs = keras.Input(input_shape, name="input")
    x = normalised(conv("stem", _DSCNN_CHANNELS, (10, 4), 2), inputs)
    for index in range(1, _DSCNN_BLOCKS + 1):
        x = normalised(depthwise(f"block{index}_depthwise"), x)
        x = normalised(conv(f"block{index}_pointwise", _DSCNN_CHANNELS, 1), x)
    return classified(inputs, x, classes, "ds_cnn")
