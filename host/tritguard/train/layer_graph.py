"""Facts about the layers of a functional Keras model: which have weights, what each reads, which axes are channels."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from tritguard.errors import BadModelError
from tritguard.train.backend import keras

# The layers whose kernels are quantized. The quantized layers of `tritguard.train.layers` are subclasses of these.
WEIGHTED = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)


def weighted_layers(model: Any) -> list[Any]:
    """The layers of a model whose kernels are quantized, in the model's order."""
    return [layer for layer in model.layers if isinstance(layer, WEIGHTED)]


def kernel_axes(layer: Any) -> tuple[int, ...]:
    """The axes of a layer's kernel that lie inside one output channel: all axes except those of the channels."""
    return (0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else tuple(range(len(layer.kernel.shape) - 1))


def inputs_of(layer: Any) -> list[Any]:
    """The tensors that a layer reads; none for an input layer."""
    if isinstance(layer, keras.layers.InputLayer):
        return []
    return layer.input if isinstance(layer.input, list) else [layer.input]


def readers_of(model: Any) -> dict[int, list[Any]]:
    """The layers that read a tensor, by the tensor's id; an empty list for a tensor that no layer reads."""
    readers: dict[int, list[Any]] = defaultdict(list)
    for layer in model.layers:
        for tensor in inputs_of(layer):
            readers[id(tensor)].append(layer)
    return readers


def refuse_shared_layers(model: Any) -> None:
    """Check that each layer of a model is used once.

    Raises:
        BadModelError: a layer is used more than once.
    """
    for entry in model.get_config()["layers"]:
        if len(entry["inbound_nodes"]) > 1:
            raise BadModelError("is used more than once", where=entry["name"], fix="give each use a layer of its own")
