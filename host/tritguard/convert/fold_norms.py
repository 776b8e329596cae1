"""Brings a network into its deployed form: plain Keras layers with constant weights, batch norms folded into them.

A batch norm after a layer scales its output channels by g = gamma / sqrt(variance + epsilon) and shifts them. For
ternary weights s * t with t in {-1, 0, 1}, the folded weights |s * g| * (sign(g) * t) are ternary again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.train.backend import keras
from tritguard.train.layer_graph import WEIGHTED, inputs_of, kernel_axes, refuse_shared_layers
from tritguard.train.layers import TernaryConv2D, TernaryDense, TernaryDepthwiseConv2D, TernaryWeights

Trits = NDArray[np.int8]
Float32 = NDArray[np.float32]

_PLAIN = {
    TernaryConv2D: keras.layers.Conv2D,
    TernaryDepthwiseConv2D: keras.layers.DepthwiseConv2D,
    TernaryDense: keras.layers.Dense,
}


@dataclass(frozen=True)
class Folded:
    """A model in its deployed form.

    Attributes:
        model: keras.Model of plain layers that computes the same as the original at inference.
        trits: for the name of each layer with ternary weights, int8 in {-1, 0, 1} in TFLite's order of axes:
            (out, h, w, in) for a convolution, (h, w, in, multiplier) for a depthwise one, (out, in) for a dense layer.
    """

    model: Any
    trits: dict[str, Trits]


def fold_norms(model: Any) -> Folded:
    """Make ternary weights constant, and fold each batch norm into the layer before it if that layer can take it.

    Args:
        model: functional keras.Model that uses each layer once; it is not changed.

    Raises:
        BadModelError: a layer is used more than once.
    """
    refuse_shared_layers(model)
    norms = _foldable_norms(model)
    folded_norms = {norm.name for norm in norms.values()}

    def replace(layer: Any) -> Any:
        if not isinstance(layer, WEIGHTED):
            return layer.__class__.from_config(layer.get_config())
        config = layer.plain_config() if isinstance(layer, TernaryWeights) else layer.get_config()
        return _PLAIN.get(type(layer), type(layer)).from_config({**config, "use_bias": True})

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return args[0] if layer.name in folded_norms else layer(*args, **kwargs)

    plain = keras.models.clone_model(model, clone_function=replace, call_function=call)
    trits = {}
    for layer in model.layers:
        if isinstance(layer, WEIGHTED):
            kernel, bias, layer_trits = _folded_weights(layer, norms.get(layer.name))
            plain.get_layer(layer.name).set_weights([kernel, bias])
            if layer_trits is not None:
                depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
                trits[layer.name] = layer_trits if depthwise else np.moveaxis(layer_trits, -1, 0)
        elif layer.name not in folded_norms:
            plain.get_layer(layer.name).set_weights(layer.get_weights())
    return Folded(plain, trits)


def _foldable_norms(model: Any) -> dict[str, Any]:
    """The batch norms that can be folded, by the name of the layer into which each is folded."""
    readers = Counter(id(tensor) for layer in model.layers for tensor in inputs_of(layer))
    readers.update(id(tensor) for tensor in model.outputs)
    takers = {
        id(layer.output): layer
        for layer in model.layers
        if isinstance(layer, WEIGHTED)
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


def _is_over_channels(norm: Any) -> bool:
    return norm.axis in (-1, len(norm.input.shape) - 1)


def _folded_weights(layer: Any, norm: Any) -> tuple[Float32, Float32, Trits | None]:
    """The folded kernel and bias, and the trits if the layer is ternary."""
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
    """The trits and the scale of a plain kernel that holds only {-a, 0, a} in each channel, as QKeras makes them."""
    scale = np.abs(kernel).max(axis=kernel_axes(layer), keepdims=True)
    if not scale.any() or not np.isin(np.abs(kernel) / np.where(scale > 0, scale, 1.0), (0.0, 1.0)).all():
        return None
    return np.sign(kernel).astype(np.int8), scale


def _numpy(tensor: Any) -> NDArray[np.float64]:
    return np.asarray(keras.ops.convert_to_numpy(tensor), np.float64)


def _float32(values: NDArray[np.floating[Any]]) -> Float32:
    return values.astype(np.float32)
