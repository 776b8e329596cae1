"""Networks small enough for a microcontroller: plain float Keras models, which `tritguard.train.quantize` quantizes.

Each is a functional model of Conv2D, DepthwiseConv2D, Dense, BatchNormalization, ReLU, pooling, Flatten and Add layers,
and ends in logits without a softmax. Importing this package imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tritguard.train.config import TrainConfig
from tritguard.train.nets.mlperf_tiny import dscnn, resnet8
from tritguard.train.nets.residual import residual
from tritguard.train.nets.separable import separable
from tritguard.train.nets.small_conv import small_conv
from tritguard.train.nets.stq import stq_image, stq_keywords

# Functions (input_shape, classes, config) -> keras.Model, by the names that TrainConfig.net takes.
NETS: dict[str, Callable[[tuple[int, ...], int, TrainConfig], Any]] = {
    "separable": lambda shape, classes, config: separable(shape, classes, stem=config.stem, blocks=config.blocks),
    "residual": lambda shape, classes, config: residual(shape, classes, stages=config.stages),
    "small-conv": lambda shape, classes, _: small_conv(shape, classes),
    "ds-cnn": lambda shape, classes, _: dscnn(shape, classes),
    "resnet8": lambda shape, classes, _: resnet8(shape, classes),
    "stq-image": lambda shape, classes, _: stq_image(shape, classes),
    "stq-keywords": lambda shape, classes, _: stq_keywords(shape, classes),
}


def build_net(config: TrainConfig, input_shape: tuple[int, ...], classes: int) -> Any:
    """Build the network that `config.net` names, with newly drawn float weights.

    Args:
        config: the settings.
        input_shape: height, width, channels.
        classes: number of outputs.

    Returns:
        keras.Model: float32[n, *input_shape] -> float32[n, classes], logits.
    """
    return NETS[config.net](input_shape, classes, config)
