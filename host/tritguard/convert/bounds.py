"""Turns ReLUs with an upper bound, such as QKeras' quantized_relu, into RELU6, which TensorFlow Lite fuses.

relu_b(x) = b/6 * relu_6(6/b * x), so the layer before the ReLU is scaled by 6/b and the layers after it by b/6. Each
layer is scaled as a whole, so ternary weights stay ternary. If calibration reaches the bound, the int8 range ends
there, and the int8 grid is that of quantized_relu itself. Any bound other than 6 would become a separate op after a
coarser grid.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from tritguard.train.backend import keras
from tritguard.train.layer_graph import WEIGHTED, readers_of

layers = keras.layers

_SIX = 6.0
_SCALED_THROUGH = (  # f(c * x) = c * f(x) for c > 0
    layers.MaxPooling2D,
    layers.AveragePooling2D,
    layers.GlobalAveragePooling2D,
    layers.Flatten,
    layers.Reshape,
    layers.Dropout,
    layers.ZeroPadding2D,
)


def bounds_to_relu6(model: Any) -> Any:
    """Replace each ReLU that has a bound other than 6 by a ReLU6, if its neighbours can be scaled.

    Args:
        model: functional keras.Model that uses each layer once; it is not changed.

    Returns:
        keras.Model: one that computes the same; `model` itself if there is nothing to replace.
    """
    readers = readers_of(model)
    output = {id(tensor) for tensor in model.outputs}
    scaled: dict[str, float] = defaultdict(lambda: 1.0)  # the factor of a layer's output, by its name
    unscaled: dict[str, float] = defaultdict(lambda: 1.0)  # the factor that undoes the one of its input
    replaced = set()
    for relu in model.layers:
        if not isinstance(relu, layers.ReLU) or not _is_scalable_bound(relu):
            continue
        source = next((layer for layer in model.layers if layer.output is relu.input), None)
        sinks = _sinks(relu, readers, output)
        if source is None or sinks is None or not _can_scale(source) or len(readers[id(relu.input)]) != 1:
            continue
        factor = _SIX / relu.max_value
        scaled[source.name] *= factor
        for sink in sinks:
            unscaled[sink.name] /= factor
        replaced.add(relu.name)
    return _rescaled(model, replaced, scaled, unscaled) if replaced else model


def _rescaled(model: Any, replaced: set[str], scaled: dict[str, float], unscaled: dict[str, float]) -> Any:
    def replace(layer: Any) -> Any:
        config = layer.get_config()
        return type(layer).from_config(config | {"max_value": _SIX} if layer.name in replaced else config)

    clone = keras.models.clone_model(model, clone_function=replace)
    for layer in model.layers:
        weights = layer.get_weights()
        gives, takes = scaled[layer.name], unscaled[layer.name]
        if isinstance(layer, layers.BatchNormalization):
            count = int(layer.scale) + int(layer.center)  # gamma and beta, which come first
            weights[:count] = [values * gives for values in weights[:count]]
        elif isinstance(layer, WEIGHTED):
            weights = [weights[0] * (gives * takes), *(values * gives for values in weights[1:])]
        if weights:
            clone.get_layer(layer.name).set_weights(weights)
    return clone


def _is_scalable_bound(relu: Any) -> bool:
    """Whether a ReLU is min(max_value, max(0, x)) with a bound other than 6."""
    return relu.max_value not in (None, 0, _SIX) and not relu.negative_slope and not relu.threshold


def _can_scale(layer: Any) -> bool:
    if isinstance(layer, layers.BatchNormalization):
        return bool(layer.scale)
    return _scales_with_its_weights(layer) and layer.activation is keras.activations.linear


def _scales_with_its_weights(layer: Any) -> bool:
    """Whether c times the weights give c times the outputs. Ternary ones with a fixed or rounded scale do not."""
    return isinstance(layer, WEIGHTED) and getattr(layer, "alpha", "auto") == "auto"


def _sinks(layer: Any, readers: dict[int, list[Any]], output: set[int]) -> list[Any] | None:
    """The layers with weights that read a layer's output, directly or through layers that keep factors.

    Returns None if anything else reads it.
    """
    if id(layer.output) in output:
        return None
    found: list[Any] = []
    for reader in readers[id(layer.output)]:
        if _scales_with_its_weights(reader):
            found.append(reader)
            continue
        further = _sinks(reader, readers, output) if isinstance(reader, _SCALED_THROUGH) else None
        if further is None:
            return None
        found += further
    return found
