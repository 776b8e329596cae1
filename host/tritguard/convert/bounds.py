"""ReLUs with an upper bound, as QKeras' quantized_relu is, as RELU6, which TensorFlow Lite fuses into a convolution.

relu_b(x) = b/6 * relu_6(6/b * x): what comes before is scaled by 6/b and what comes after by b/6, each layer as a
whole, so ternary weights stay ternary. A bound that calibration reaches is where the int8 range ends, and then the int8
grid is that of quantized_relu itself. Any other bound would become an op of its own, after a coarser grid.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from tritguard.train.backend import keras

layers = keras.layers

_SIX = 6.0
_WEIGHTED = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
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
    """The same network with a ReLU6 in place of each ReLU with another bound, where its neighbours can be scaled.

    Args:
        model: functional keras.Model, each layer used once; it stays as it is.
    """
    readers: dict[int, list[Any]] = defaultdict(list)
    for layer in model.layers:
        for tensor in _inputs(layer):
            readers[id(tensor)].append(layer)
    output = {id(tensor) for tensor in model.outputs}
    scaled: dict[str, float] = defaultdict(lambda: 1.0)  # what a layer gives, by its name
    unscaled: dict[str, float] = defaultdict(lambda: 1.0)  # what it takes
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
        elif isinstance(layer, _WEIGHTED):
            weights = [weights[0] * (gives * takes), *(values * gives for values in weights[1:])]
        if weights:
            clone.get_layer(layer.name).set_weights(weights)
    return clone


def _is_scalable_bound(relu: Any) -> bool:
    """Whether a ReLU is min(max_value, max(0, x)) with a bound that can be made 6."""
    return relu.max_value not in (None, 0, _SIX) and not relu.negative_slope and not relu.threshold


def _can_scale(layer: Any) -> bool:
    if isinstance(layer, layers.BatchNormalization):
        return bool(layer.scale)
    return _scales_with_its_weights(layer) and layer.activation is keras.activations.linear


def _scales_with_its_weights(layer: Any) -> bool:
    """Whether c times the weights give c times the outputs: with a fixed or rounded scale ternary ones do not."""
    return isinstance(layer, _WEIGHTED) and getattr(layer, "alpha", "auto") == "auto"


def _sinks(layer: Any, readers: dict[int, list[Any]], output: set[int]) -> list[Any] | None:
    """The layers with weights that read what a layer gives, in the end; None where something else does."""
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


def _inputs(layer: Any) -> list[Any]:
    if isinstance(layer, layers.InputLayer):
        return []
    return layer.input if isinstance(layer.input, list) else [layer.input]
