"""The network as it is deployed: plain Keras layers with constant weights and no batch-norm of their own.

A batch-norm after a layer scales its output channels by g = gamma / sqrt(variance + epsilon) and shifts them. With
ternary weights s * t, t in {-1, 0, 1}, the folded weights |s * g| * (sign(g) * t) are ternary again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.errors import BadModelError
from tritguard.train.backend import keras
from tritguard.train.layers import TernaryConv2D, TernaryDense, TernaryDepthwiseConv2D, TernaryWeights

Trits = NDArray[np.int8]
Float32 = NDArray[np.float32]

_PLAIN = {
    TernaryConv2D: keras.layers.Conv2D,
    TernaryDepthwiseConv2D: keras.layers.DepthwiseConv2D,
    TernaryDense: keras.layers.Dense,
}
_WEIGHTED = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)  # the ternary ones are these too


@dataclass(frozen=True)
class Folded:
    """A model in its deployed form.

    Attributes:
        model: keras.Model of plain layers, equal to the original at inference.
        trits: for each layer that was ternary, by name: int8 in {-1, 0, 1}, in TFLite's order of axes: (out, h, w, in),
            (h, w, in, multiplier) where depthwise, (out, in) where dense.
    """

    model: Any
    trits: dict[str, Trits]


def fold(model: Any) -> Folded:
    """Make ternary weights constant and fold each batch-norm into the layer before it, where there is one to take it.

    Args:
        model: functional keras.Model, each layer used once.

    Raises:
        BadModelError: a layer is used more than once.
    """
    _refuse_shared_layers(model)
    norms = _foldable_norms(model)
    folded_norms = {norm.name for norm in norms.values()}

    def replace(layer: Any) -> Any:
        if not isinstance(layer, _WEIGHTED):
            return layer.__class__.from_config(layer.get_config())
        config = layer.plain_config() if isinstance(layer, TernaryWeights) else layer.get_config()
        return _PLAIN.get(type(layer), type(layer)).from_config({**config, "use_bias": True})

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return args[0] if layer.name in folded_norms else layer(*args, **kwargs)

    plain = keras.models.clone_model(model, clone_function=replace, call_function=call)
    trits = {}
    for layer in model.layers:
        if isinstance(layer, _WEIGHTED):
            kernel, bias, layer_trits = _folded_weights(layer, norms.get(layer.name))
            plain.get_layer(layer.name).set_weights([kernel, bias])
            if layer_trits is not None:
                depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
                trits[layer.name] = layer_trits if depthwise else np.moveaxis(layer_trits, -1, 0)
        elif layer.name not in folded_norms:
            plain.get_layer(layer.name).set_weights(layer.get_weights())
    return Folded(plain, trits)


def _refuse_shared_layers(model: Any) -> None:
    for layer in model.get_config()["layers"]:
        if len(layer["inbound_nodes"]) > 1:
            raise BadModelError("is used more than once", where=layer["name"], fix="give each use a layer of its own")


def _foldable_norms(model: Any) -> dict[str, Any]:
    """Batch-norm layers that can be folded, by the name of the layer that takes each."""
    readers = Counter(id(tensor) for layer in model.layers for tensor in _inputs(layer))
    readers.update(id(tensor) for tensor in model.outputs)
    takers = {
        id(layer.output): layer
        for layer in model.layers
        if isinstance(layer, _WEIGHTED)
        and layer.activation is keras.activations.linear
        and readers[id(layer.output)] == 1
    }
    norms = {}
    for norm in model.layers:
        if isinstance(norm, keras.layers.BatchNormalization) and _is_over_channels(norm):
            taker = takers.get(id(norm.input))
            if taker is not None:
                norms[taker.name] = norm
    return norms


def _inputs(layer: Any) -> list[Any]:
    if isinstance(layer, keras.layers.InputLayer):
        return []
    return layer.input if isinstance(layer.input, list) else [layer.input]


def _is_over_channels(norm: Any) -> bool:
    return norm.axis in (-1, len(norm.input.shape) - 1)


def _folded_weights(layer: Any, norm: Any) -> tuple[Float32, Float32, Trits | None]:
    """Kernel, bias, and trits where the layer is ternary."""
    kernel_shape = tuple(layer.kernel.shape)
    is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    channel_shape = kernel_shape[2:] if is_depthwise else kernel_shape[-1:]
    channels = int(np.prod(channel_shape))
    bias = _numpy(layer.bias) if layer.use_bias else np.zeros(channels, np.float32)
    gain = np.ones(channels, np.float32)
    if norm is not None:
        gain = _numpy(norm.gamma if norm.scale else 1.0) / np.sqrt(_numpy(norm.moving_variance) + norm.epsilon)
        bias = _numpy(norm.beta if norm.center else 0.0) + (bias - _numpy(norm.moving_mean)) * gain
    gain = gain.reshape(channel_shape)
    ternary = layer.deployed_kernel() if isinstance(layer, TernaryWeights) else _as_ternary(_numpy(layer.kernel), layer)
    if ternary is None:
        return _float32(_numpy(layer.kernel) * gain), _float32(bias), None
    trits, scale = ternary
    trits = trits * np.sign(gain).astype(np.int8)
    return _float32(np.abs(scale * gain) * trits), _float32(bias), trits


def _as_ternary(kernel: NDArray[np.float64], layer: Any) -> tuple[Trits, NDArray[np.float64]] | None:
    """Trits and scale of a kernel that happens to hold {-a, 0, a} in each channel: one that QKeras made, say."""
    axes = (0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else tuple(range(kernel.ndim - 1))
    scale = np.abs(kernel).max(axis=axes, keepdims=True)
    if not scale.any() or not np.isin(np.abs(kernel) / np.where(scale > 0, scale, 1.0), (0.0, 1.0)).all():
        return None
    return np.sign(kernel).astype(np.int8), scale


def _numpy(tensor: Any) -> NDArray[np.float64]:
    return np.asarray(keras.ops.convert_to_numpy(tensor), np.float64)


def _float32(values: NDArray[np.floating[Any]]) -> Float32:
    return values.astype(np.float32)
