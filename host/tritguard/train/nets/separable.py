"""The demo's network, whose width and depth can be chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tritguard.train.backend import keras
from tritguard.train.config import Block
from tritguard.train.nets.blocks import classified, conv, depthwise, normalised


def separable(input_shape: tuple[int, ...], classes: int, *, stem: int, blocks: Sequence[Block]) -> Any:
    """A depthwise-separable CNN shaped like MobileNet (Howard et al. 2017, arXiv 1704.04861) and MLPerf Tiny's DS-CNN.

    It has a 3x3 convolution with stride 2, the blocks, global average pooling and a dense layer, with a batch norm and
    a ReLU after each convolution.

    Args:
        input_shape: height, width, channels.
        classes: number of outputs.
        stem: channels of the first convolution.
        blocks: the depthwise-separable blocks.

    Returns:
        keras.Model: float32[n, height, width, channels] -> float32[n, classes], logits without softmax.
    """
    inputs = keras.Input(input_shape, name="input")
    x = normalised(conv("stem", stem, 3, 2), inputs)
    for index, block in enumerate(blocks, start=1):
        x = normalised(depthwise(f"block{index}_depthwise", block.stride), x)
        x = normalised(conv(f"block{index}_pointwise", block.channels, 1), x)
    return classified(inputs, x, classes, "separable")
