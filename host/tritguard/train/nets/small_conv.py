"""A shallow network of full convolutions, whose bounds stay tight: for certified training."""

from __future__ import annotations

from typing import Any

from tritguard.train.backend import keras
from tritguard.train.nets.blocks import conv, layers, normalised


def small_conv(input_shape: tuple[int, ...], classes: int) -> Any:
    """Two convolutions with stride 2 and two dense layers, shaped like the small network of Gowal et al. 2018.

    At (28, 28, 1) it has 170,000 weights, in 43 KB if they are ternary, and 1 million MACs.

    Args:
        input_shape: height, width, channels.
        classes: number of outputs.

    Returns:
        keras.Model: float32[n, height, width, channels] -> float32[n, classes], logits without softmax.
    """
    inputs = keras.Input(input_shape, name="input")
    x = normalised(conv("conv1", 16, 5, 2), inputs)
    x = normalised(conv("conv2", 32, 5, 2), x)
    x = layers.Flatten(name="flat")(x)
    x = normalised(layers.Dense(100, use_bias=False, name="hidden"), x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="small_conv")
