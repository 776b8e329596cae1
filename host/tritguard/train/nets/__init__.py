"""Networks small enough for a microcontroller: plain float Keras models, which `tritguard.train.quantize` quantizes.

Each is functional, of Conv2D, DepthwiseConv2D, Dense, BatchNormalization, ReLU, pooling and Add layers, and ends in
logits: no softmax. Importing this imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tritguard.train.config import TrainConfig
from tritguard.train.nets.mlperf_tiny import dscnn, resnet8
from tritguard.train.nets.separable import separable
from tritguard.train.nets.stq import stq_image, stq_keywords

# (input_shape, classes, config) -> keras.Model; by the names that TrainConfig.net takes.
NETS: dict[str, Callable[[tuple[int, ...], int, TrainConfig], Any]] = {
    "separable": lambda shape, classes, config: separable(shape, classes, stem=config.stem, blocks=config.blocks),
    "ds-cnn": lambda shape, classes, _: dscnn(shape, classes),
    "resnet8": lambda shape, classes, _: resnet8(shape, classes),
    "stq-image": lambda shape, classes, _: stq_image(shape, classes),
    "stq-keywords": lambda shape, classes, _: stq_keywords(shape, classes),
}


def build_net(config: TrainConfig, input_shape: tuple[int, ...], classes: int) -> Any:
    """The network `config.net` names, with fresh float weights.

    Raises:
        BadInputError: it does not take inputs of this shape.
    """
    return NETS[config.net](input_shape, classes, config)
