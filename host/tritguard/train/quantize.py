"""From a plain Keras model to one that trains with quantized weights, and from there to what is stored."""

from __future__ import annotations

from typing import Any

from tritguard.errors import BadModelError
from tritguard.train.backend import keras
from tritguard.train.config import QuantizeConfig
from tritguard.train.layers import TERNARY_OF, TernaryWeights


def quantize(model: Any, config: QuantizeConfig) -> Any:
    """Swap quantized layers in for the layers with weights.

    Args:
        model: functional keras.Model of plain layers, each used once; it stays as it is.
        config: what becomes of the weights.

    Returns:
        keras.Model: the same graph with layers of the same names and, in front of the quantizers, the same weights.

    Raises:
        BadModelError: a layer is used more than once.
    """
    weighted = [layer for layer in model.layers if type(layer) in TERNARY_OF]
    plain = _kept_plain(weighted, config)

    def replace(layer: Any) -> Any:
        if type(layer) not in TERNARY_OF or layer.name in plain:
            return layer.__class__.from_config(layer.get_config())
        return TERNARY_OF[type(layer)](
            **layer.get_config(),
            stochastic=config.weights == "stochastic",
            temperature=config.temperature,
        )

    return _cloned(model, replace)


def _kept_plain(weighted: list[Any], config: QuantizeConfig) -> set[str]:
    """Names of the layers whose weights stay float in training and become int8 at conversion."""
    if config.weights == "none":
        return {layer.name for layer in weighted}
    edges = {weighted[0].name: config.first, weighted[-1].name: config.last} if weighted else {}
    return {name for name, choice in edges.items() if choice == "int8"}


def _cloned(model: Any, replace: Any) -> Any:
    """The model with other layers of the same names, weights copied."""
    for entry in model.get_config()["layers"]:
        if len(entry["inbound_nodes"]) > 1:
            raise BadModelError("is used more than once", where=entry["name"], fix="give each use a layer of its own")
    clone = keras.models.clone_model(model, clone_function=replace)
    for layer in model.layers:
        clone.get_layer(layer.name).set_weights(layer.get_weights())
    return clone


def dead_channels(model: Any) -> dict[str, int]:
    """For each ternary layer the output channels whose weights are all zero."""
    return {
        layer.name: int((layer.deployed_kernel()[1] == 0).sum())
        for layer in model.layers
        if isinstance(layer, TernaryWeights)
    }
