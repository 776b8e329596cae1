"""The building blocks of the networks."""

from __future__ import annotations

from typing import Any

from tritguard.train.backend import keras

layers = keras.layers

NORM_MOMENTUM = 0.9  # quantized weights change fast, and the statistics are recomputed after training anyway


def normalised(layer: Any, x: Any, *, relu: bool = True) -> Any:
    """Apply a layer without bias, then a batch norm and, if `relu`, a ReLU, both named after the layer."""
    x = layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{layer.name}_norm")(layer(x))
    return layers.ReLU(name=f"{layer.name}_relu")(x) if relu else x


def conv(name: str, channels: int, size: int | tuple[int, int], stride: int = 1) -> Any:
    """A convolution without bias and with 'same' padding, for `normalised`."""
    return layers.Conv2D(channels, size, strides=stride, padding="same", use_bias=False, name=name)


def depthwise(name: str, stride: int = 1) -> Any:
    """A 3x3 depthwise convolution without bias and with 'same' padding, for `normalised`."""
    return layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False, name=name)


def classified(inputs: Any, x: Any, classes: int, name: str) -> Any:
    """The model whose logits a dense layer computes from the mean of x over the picture."""
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name=name)
