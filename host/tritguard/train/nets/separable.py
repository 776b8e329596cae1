"""The demo's network, of any width and depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tritguard.train.backend import keras
from tritguard.train.config import Block

layers = keras.layers

NORM_MOMENTUM = 0.9  # quantized weights change fast; the statistics are recalibrated after training anyway


def separable(input_shape: tuple[int, ...], classes: int, *, stem: int, blocks: Sequence[Block]) -> Any:
    """A depthwise-separable CNN: MobileNet's shape (Howard et al. 2017, arXiv 1704.04861), MLPerf Tiny's DS-CNN's.

    3x3 convolution with stride 2, the blocks, global average pooling, a dense layer; batch-norm and ReLU after each
    convolution.

    Args:
        input_shape: height, width, channels.
        classes: outputs.
        stem: channels of the first convolution.
        blocks: the depthwise-separable blocks.

    Returns:
        keras.Model: float32[n, height, width, channels] -> float32[n, classes], logits without softmax.
    """
    inputs = keras.Input(input_shape, name="input")
    x = _normalised(layers.Conv2D(stem, 3, strides=2, padding="same", use_bias=False, name="stem"), inputs)
    for index, block in enumerate(blocks, start=1):
        depthwise = layers.DepthwiseConv2D(
            3, strides=block.stride, padding="same", use_bias=False, name=f"block{index}_depthwise"
        )
        pointwise = layers.Conv2D(block.channels, 1, use_bias=False, name=f"block{index}_pointwise")
        x = _normalised(pointwise, _normalised(depthwise, x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name="separable")


def _normalised(layer: Any, x: Any) -> Any:
    x = layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{layer.name}_norm")(layer(x))
    return layers.ReLU(name=f"{layer.name}_relu")(x)
