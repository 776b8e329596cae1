"""Residual networks of full convolutions, for small pictures, whose widths, strides and depth can be chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tritguard.train.backend import keras
from tritguard.train.config import Stage
from tritguard.train.nets.blocks import classified, conv, normalised

layers = keras.layers


def residual(input_shape: tuple[int, ...], classes: int, *, stages: Sequence[Stage]) -> Any:
    """Stages of a 3x3 convolution and residual blocks (He et al. 2016, arXiv 1512.03385), each at a width of its own.

    A stage's first convolution changes the width and the size of the picture, so that the blocks after it add tensors
    of one shape and no shortcut needs weights. A block is two 3x3 convolutions; its input is added to their output,
    before the ReLU. By default all kernels but the first have several hundred weights: these lose little by being
    ternary.

    Args:
        input_shape: height, width, channels.
        classes: number of outputs.
        stages: the stages, of which the first reads the picture.

    Returns:
        keras.Model: float32[n, height, width, channels] -> float32[n, classes], logits without softmax.
    """
    inputs = x = keras.Input(input_shape, name="input")
    for index, stage in enumerate(stages, start=1):
        x = normalised(conv(f"stage{index}", stage.channels, 3, stage.stride), x)
        for number in range(1, stage.blocks + 1):
            name = f"stage{index}_block{number}"
            y = normalised(conv(f"{name}_conv1", stage.channels, 3), x)
            y = normalised(conv(f"{name}_conv2", stage.channels, 3), y, relu=False)
            x = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))
    return classified(inputs, x, classes, "residual")
