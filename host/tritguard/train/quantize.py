"""Turns a plain Keras model into one that trains with quantized weights and activations, and back for storage."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.errors import BadModelError
from tritguard.train.backend import keras
from tritguard.train.config import QuantizeConfig
from tritguard.train.layer_graph import WEIGHTED, inputs_of, readers_of, refuse_shared_layers
from tritguard.train.layers import INT8_OF, TERNARY_OF, Int8Activations, Int8Weights, TernaryWeights

# The outputs of these layers have the grid of their inputs.
_GRID_KEEPING = (keras.layers.MaxPooling2D, keras.layers.Flatten, keras.layers.Reshape, keras.layers.Dropout)
_ACTIVATIONS_SUFFIX = "_int8"


def quantize(model: Any, config: QuantizeConfig, input_range: tuple[float, float] | None = None) -> Any:
    """Replace the layers with weights by quantized ones, and round activations where TFLite does.

    The logits are not rounded, because the device returns their int32 accumulators.

    Args:
        model: functional keras.Model of plain layers, each used once; it is not changed.
        config: how weights and activations are quantized.
        input_range: lowest and highest value of the input if known; otherwise it is observed in training.

    Returns:
        keras.Model: the same graph with layers of the same names and the same float weights behind the quantizers.

    Raises:
        BadModelError: a layer is used more than once, or several layers read the input though activations are int8.
    """
    weighted = [layer.name for layer in model.layers if type(layer) in TERNARY_OF]
    int8 = _int8_layers(weighted, config)
    rounded = _rounded(model) if config.activations == "int8" else set()
    input_readers = _input_readers(model) if config.activations == "int8" else set()

    def replace(layer: Any) -> Any:
        if layer.name not in weighted:
            return layer.__class__.from_config(layer.get_config())
        if layer.name in int8:
            kinds = INT8_OF if config.activations == "int8" else {type(layer): type(layer)}
            return kinds[type(layer)](**layer.get_config())
        return TERNARY_OF[type(layer)](
            **layer.get_config(),
            rule=config.weights,
            temperature=config.temperature,
            alpha=config.alpha,
            one_scale=config.one_scale,
        )

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if layer.name in input_readers:
            args = (_rounding("input", args[0], fixed=input_range), *args[1:])
        outputs = layer(*args, **kwargs)
        return _rounding(layer.name, outputs) if layer.name in rounded else outputs

    return _cloned(model, replace, call)


def _int8_layers(weighted: list[str], config: QuantizeConfig) -> set[str]:
    """Names of the layers whose weights become int8."""
    if config.weights == "none":
        return set(weighted)
    edges = {weighted[0]: config.first, weighted[-1]: config.last} if weighted else {}
    return {name for name, choice in edges.items() if choice == "int8"}


def stored(model: Any) -> Any:
    """The trained model for storage: only plain and ternary layers, as `tritguard.convert` takes them."""
    standard: dict[type, Any] = {kind: plain_kind for plain_kind, kind in INT8_OF.items()}
    return _cloned(
        model, lambda layer: standard.get(type(layer), type(layer)).from_config(layer.get_config()), _skipping
    )


def plain(model: Any) -> Any:
    """The plain net that `quantize` was given, with the float weights that training left behind the quantizers."""
    standard: dict[type, Any] = {
        kind: plain_kind for kinds in (INT8_OF, TERNARY_OF) for plain_kind, kind in kinds.items()
    }

    def replace(layer: Any) -> Any:
        config = layer.plain_config() if isinstance(layer, TernaryWeights) else layer.get_config()
        return standard.get(type(layer), type(layer)).from_config(config)

    return _cloned(model, replace, _skipping)


def _skipping(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a layer, but skip one that only rounds activations."""
    return args[0] if isinstance(layer, Int8Activations) else layer(*args, **kwargs)


def observe_ranges(model: Any, x: NDArray[np.float32]) -> None:
    """Set the ranges of the model's activations to their extremes over x, as TFLite's converter does.

    Args:
        model: a model that `quantize` returned.
        x: float32[n, ...], calibration inputs, which are run in one batch.
    """
    with unrounded(model):
        model(x, training=False)
    for layer in model.layers:
        if isinstance(layer, Int8Activations):
            layer.learnt = bool(layer.high.value > layer.low.value)


@contextmanager
def unrounded(model: Any) -> Iterator[None]:
    """Pass activations on unchanged in the block, and make their extremes the ranges."""
    layers = [layer for layer in model.layers if isinstance(layer, Int8Activations)]
    for layer in layers:
        layer.observing = True
    try:
        yield
    finally:
        for layer in layers:
            layer.observing = False


@contextmanager
def settled(model: Any) -> Iterator[None]:
    """Quantize weights once, at the start of the block, instead of in every call. They must not change inside it.

    Quantizing them takes most of the time in which TensorFlow traces a model.
    """
    layers = [layer for layer in model.layers if isinstance(layer, TernaryWeights | Int8Weights)]
    for layer in layers:
        vars(layer)["quantized_kernel"] = functools.partial(_constant, layer.quantized_kernel(training=False))
    try:
        yield
    finally:
        for layer in layers:
            del vars(layer)["quantized_kernel"]


def _constant(kernel: Any, training: bool) -> Any:
    return kernel


def dead_channels(model: Any) -> dict[str, int]:
    """For each ternary layer, the number of output channels whose weights are all zero."""
    return {
        layer.name: int((~layer.deployed_kernel()[0].any(axis=layer.channel_axes)).sum())
        for layer in model.layers
        if isinstance(layer, TernaryWeights)
    }


def findings(model: Any) -> tuple[str, ...]:
    """What a user should know about a model's ternary weights: dead channels, and depthwise kernels with one scale."""
    said = []
    for name, dead in dead_channels(model).items():
        layer = model.get_layer(name)
        one_scale = isinstance(layer, keras.layers.DepthwiseConv2D) and layer.one_scale
        said += channel_findings(name, layer.output.shape[-1], dead, one_scale)
    return tuple(said)


def channel_findings(name: str, channels: int, dead: int, one_scale: bool) -> list[str]:
    """The findings for one layer, from the number of its dead channels and whether all channels share a scale."""
    said = []
    if one_scale:
        said.append(f"{name}: one scale for {channels} channels, as in QKeras; small ones die; set one_scale = false")
    if dead:
        said.append(f"{name}: {dead} of {channels} channels are dead: all their weights are zero")
    return said


def _rounding(name: str, x: Any, fixed: tuple[float, float] | None = None) -> Any:
    return Int8Activations(name=name + _ACTIVATIONS_SUFFIX, fixed=fixed)(x)


def _input_readers(model: Any) -> set[str]:
    readers = {layer.name for layer in model.layers if any(tensor is model.input for tensor in inputs_of(layer))}
    if len(readers) != 1:
        raise BadModelError(f"the input is read by {len(readers)} layers", fix="put a layer in front of them")
    return readers


def _rounded(model: Any) -> set[str]:
    """Names of the layers whose outputs exist as int8 tensors on the device. Fused layers and the logits have none."""
    readers = readers_of(model)
    return {
        layer.name
        for layer in model.layers
        if not isinstance(layer, (keras.layers.InputLayer, *_GRID_KEEPING))
        and readers[id(layer.output)]
        and not _is_fused(layer, readers[id(layer.output)])
    }


def _is_fused(layer: Any, readers: list[Any]) -> bool:
    """Whether the only reader is a batch norm or a ReLU that TFLite fuses into the layer."""
    if len(readers) != 1 or getattr(layer, "activation", None) not in (None, keras.activations.linear):
        return False
    if isinstance(readers[0], keras.layers.BatchNormalization):
        return isinstance(layer, WEIGHTED)
    is_relu = (
        isinstance(readers[0], keras.layers.ReLU) or getattr(readers[0], "activation", None) is keras.activations.relu
    )
    return is_relu and not isinstance(readers[0], WEIGHTED)


def _cloned(model: Any, replace: Callable[[Any], Any], call: Callable[..., Any]) -> Any:
    """Clone the model with other layers of the same names, and copy the weights."""
    refuse_shared_layers(model)
    clone = keras.models.clone_model(model, clone_function=replace, call_function=call)
    kept = {layer.name for layer in clone.layers}
    for layer in model.layers:
        if layer.name in kept and not isinstance(layer, Int8Activations):
            clone.get_layer(layer.name).set_weights(layer.get_weights())
    return clone
