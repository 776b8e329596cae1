"""Networks small enough for a microcontroller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tritguard.train.backend import keras
from tritguard.train.config import Block
from tritguard.train.layers import TernaryConv2D, TernaryDense, TernaryDepthwiseConv2D

NORM_MOMENTUM = 0.9  # the weights change fast; the statistics are recalibrated after training anyway


def ternary_dscnn(
    input_shape: tuple[int, int, int], classes: int, *, stem: int, blocks: Sequence[Block], temperature: float
) -> Any:
    """A depthwise-separable CNN, ternary from the first layer to the last.

    3x3 convolution with stride 2, the blocks, global average pooling, a dense layer; batch-norm and ReLU after each
    convolution. The shape is MobileNet's (Howard et al. 2017, arXiv 1704.04861) and MLPerf Tiny's DS-CNN's.

    Args:
        input_shape: height, width, channels.
        classes: outputs.
        stem: channels of the first convolution.
        blocks: the depthwise-separable blocks.
        temperature: of the ternary draws.

    Returns:
        keras.Model: float32[n, height, width, channels] -> float32[n, classes], logits without softmax.
    """
    inputs = keras.Input(input_shape, name="input")
    stem_layer = TernaryConv2D(stem, 3, strides=2, padding="same", use_bias=False, temperature=temperature, name="stem")
    x = _normalised(stem_layer, inputs)
    for index, block in enumerate(blocks, start=1):
        depthwise = TernaryDepthwiseConv2D(
            3,
            strides=block.stride,
            padding="same",
            use_bias=False,
            temperature=temperature,
            name=f"block{index}_depthwise",
        )
        pointwise = TernaryConv2D(
            block.channels, 1, use_bias=False, temperature=temperature, name=f"block{index}_pointwise"
        )
        x = _normalised(pointwise, _normalised(depthwise, x))
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    logits = TernaryDense(classes, temperature=temperature, name="logits")(x)
    return keras.Model(inputs, logits, name="ternary_dscnn")


def _normalised(layer: Any, x: Any) -> Any:
    x = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{layer.name}_norm")(layer(x))
    return keras.layers.ReLU(name=f"{layer.name}_relu")(x)
