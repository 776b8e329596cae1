"""Makes a `Description` of a model's configuration (JSON) and weights. Runs in the reading process only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tritguard.errors import BadModelError
from tritguard.foreign import expressions, quantizers
from tritguard.foreign.description import Description, Kind, Layer, Option
from tritguard.foreign.expressions import Call
from tritguard.foreign.stores import MAX_VALUES, Arrays, LayerKey, Store, weights_of

Config = dict[str, Any]

_WINDOW = ("strides", "padding")
_CONV = ("kernel_size", *_WINDOW, "dilation_rate", "use_bias")
_TERNARY = ("rule", "temperature", "alpha", "one_scale")
# For each class, the kind it becomes and the options that are kept. Any other class, such as Lambda, is refused.
_CLASSES: dict[str, tuple[Kind, tuple[str, ...]]] = {
    "Conv2D": ("Conv2D", ("filters", *_CONV)),
    "QConv2D": ("Conv2D", ("filters", *_CONV)),
    "DepthwiseConv2D": ("DepthwiseConv2D", ("depth_multiplier", *_CONV)),
    "QDepthwiseConv2D": ("DepthwiseConv2D", ("depth_multiplier", *_CONV)),
    "Dense": ("Dense", ("units", "use_bias")),
    "QDense": ("Dense", ("units", "use_bias")),
    "TernaryDense": ("Dense", ("units", "use_bias")),
    "tritguard>TernaryConv2D": ("tritguard>TernaryConv2D", ("filters", *_CONV, *_TERNARY)),
    "tritguard>TernaryDepthwiseConv2D": ("tritguard>TernaryDepthwiseConv2D", ("depth_multiplier", *_CONV, *_TERNARY)),
    "tritguard>TernaryDense": ("tritguard>TernaryDense", ("units", "use_bias", *_TERNARY)),
    "BatchNormalization": ("BatchNormalization", ("epsilon", "center", "scale")),
    "QBatchNormalization": ("BatchNormalization", ("epsilon", "center", "scale")),
    "Activation": ("Activation", ()),
    "QActivation": ("Activation", ()),
    "ReLU": ("ReLU", ("max_value", "negative_slope", "threshold")),
    "Softmax": ("Softmax", ("axis",)),
    "Add": ("Add", ()),
    "MaxPooling2D": ("MaxPooling2D", ("pool_size", *_WINDOW)),
    "AveragePooling2D": ("AveragePooling2D", ("pool_size", *_WINDOW)),
    "GlobalAveragePooling2D": ("GlobalAveragePooling2D", ("keepdims",)),
    "Flatten": ("Flatten", ()),
    "Reshape": ("Reshape", ("target_shape",)),
    "ZeroPadding2D": ("ZeroPadding2D", ("padding",)),
    "Dropout": ("Dropout", ("rate",)),
}
_WEIGHTS = ("Conv2D", "DepthwiseConv2D", "Dense", "BatchNormalization")  # what the names of kinds with weights end in
# Options that must have one of these values if they are given.
_FIXED: dict[str, tuple[object, ...]] = {
    "groups": (1,),
    "data_format": ("channels_last", None),
}
_ACTIVATIONS = {
    *("elu", "exponential", "gelu", "hard_silu", "hard_swish", "leaky_relu", "linear", "mish", "relu"),
    *("relu6", "selu", "sigmoid", "silu", "softmax", "softplus", "softsign", "swish", "tanh"),
}
_QUANTIZER_KEYS = {  # for each weight, QKeras' name of its quantizer
    "kernel": "kernel_quantizer",
    "depthwise_kernel": "depthwise_quantizer",
    "bias": "bias_quantizer",
    "gamma": "gamma_quantizer",
    "beta": "beta_quantizer",
    "moving_mean": "mean_quantizer",
    "moving_variance": "variance_quantizer",
}
_ORIGINS = {"keras", "tf_keras", "tensorflow", "qkeras"}
_ADVICE = f"layers taken: {', '.join(sorted(_CLASSES))}"
_EXPORT = "export the model, model.export(folder), and give that: a graph tells what the layer computes"
_MAX_LAYERS = 1000


def describe(model: Config, store: Store) -> tuple[Description, dict[str, Arrays]]:
    """Describe a network by plain data, and give the weights of each layer as they are at inference.

    Args:
        model: `class_name` and `config` of a functional or sequential model.
        store: its weights.

    Returns:
        The description, and for each layer's name its weights by name, float32.

    Raises:
        BadModelError: the configuration holds anything but the layers and options above, or is inconsistent.
    """
    reader = _Reader(store)
    config = model.get("config")
    if model.get("class_name") in ("Functional", "Model") and isinstance(config, dict):
        output = reader.functional(config)
    elif model.get("class_name") == "Sequential":
        output = reader.sequential(config if isinstance(config, dict) else {"layers": config})
    else:
        what = f"a {str(model.get('class_name'))[:60]} model"
        raise BadModelError(what, fix="only functional and sequential ones are taken")
    return Description(layers=tuple(reader.layers), output=output, notes=tuple(reader.notes)), reader.weights


def needs_qkeras(model: Config) -> bool:
    """Whether any layer of the model is a layer of QKeras."""
    config = model.get("config")
    layers = config.get("layers") if isinstance(config, dict) else config
    return isinstance(layers, list) and any(
        isinstance(entry, dict) and str(entry.get("class_name")).startswith("Q") for entry in layers
    )


class _Reader:
    def __init__(self, store: Store) -> None:
        self.layers: list[Layer] = []
        self.weights: dict[str, Arrays] = {}
        self.notes: list[str] = []
        self._store = store
        self._given_by: dict[
            str, str
        ] = {}  # for each layer of the file, the one whose output is its own: itself or its activation
        self._weighted = 0
        self._values = 0

    def functional(self, config: Config) -> str:
        entries = _list_of_layers(config)
        for entry in entries:
            name = str(entry.get("name") or _config_of(entry).get("name"))
            nodes = entry.get("inbound_nodes") or []
            if len(nodes) > 1:
                raise BadModelError("is used more than once", where=f"layer {name}", fix="give each use its own layer")
            self._take(entry, name, tuple(_sources(nodes, name)))
        outputs = list(_ends(config.get("output_layers")))
        if len(outputs) != 1 or len(list(_ends(config.get("input_layers")))) != 1:
            raise BadModelError("not one input and one output")
        return self._source(outputs[0], "the output")

    def sequential(self, config: Config) -> str:
        entries = _list_of_layers(config)
        previous: tuple[str, ...] = ()
        for entry in entries:
            own = _config_of(entry)
            name = str(own.get("name"))
            if not previous and entry.get("class_name") != "InputLayer":
                self._take({"class_name": "InputLayer", "config": own}, f"{name}_input", ())
                previous = (f"{name}_input",)
            self._take(entry, name, previous)
            previous = (name,)
        return self._source(previous[0], "the output")

    def _take(self, entry: Config, name: str, sources: tuple[str, ...]) -> None:
        where = f"layer {name}"
        class_name, config = self._class_of(entry, where), _config_of(entry)
        if name in self._given_by:
            raise BadModelError("two layers of this name", where=where)
        inputs = tuple(self._source(source, where) for source in sources)
        if class_name == "InputLayer":
            shape = config.get("batch_shape") or config.get("batch_input_shape")
            self._add(Layer(name=name, kind="InputLayer", options={"shape": _shape(shape, where)}, inputs=()))
            return
        if class_name not in _CLASSES:
            raise BadModelError(f"a {class_name[:60]}, which is not taken", where=where, fix=_ADVICE)
        kind, wanted = _CLASSES[class_name]
        _check_fixed(config, where)
        options = {key: _option(config[key], f"{where}: {key}") for key in wanted if key in config}
        if kind == "BatchNormalization":
            options["axis"] = _norm_axis(config, where)
        weights: Arrays = {}
        if kind.endswith(_WEIGHTS):
            weights = self._weights(class_name, kind, name, config)
        call = expressions.parse(config.get("activation"), f"{where}: activation")
        if kind == "Activation":
            self._activate(call or Call("linear"), name, inputs)
            return
        self._add(Layer(name=name, kind=kind, options=options, inputs=inputs, weights=tuple(weights)))
        self.weights[name] = weights
        if call is not None and call.name != "linear":
            self._activate(call, f"{name}_activation", (name,))
            self._given_by[name] = f"{name}_activation"

    def _class_of(self, entry: Config, where: str) -> str:
        """The layer's class as `_CLASSES` names it. A class of the file's author is recognised by its module."""
        name, registered = str(entry.get("class_name"))[:60], str(entry.get("registered_name"))[:60]
        if registered in _CLASSES and registered == f"tritguard>{name}":
            return registered
        root, *parts = str(entry.get("module")).split(".")
        own = name if registered in ("None", name) else registered
        if name == "TernaryDense" and "threshold" in _config_of(entry):
            self.notes.append(f"{where}: a {own}, read as what Keras calls TernaryDense")
            return name
        is_legacy = "module" not in entry
        if name != "TernaryDense" and (is_legacy or (root in _ORIGINS and "ops" not in parts)):
            return name
        origin = "" if is_legacy else f" of {str(entry.get('module'))[:60]}"
        raise BadModelError(f"{own}{origin} is not taken", where=where, fix=_EXPORT)

    def _activate(self, call: Call, name: str, inputs: tuple[str, ...]) -> None:
        if call.name == "hard_sigmoid":
            what = "hard_sigmoid, which Keras 2, Keras 3 and QKeras compute each in its own way"
            raise BadModelError(what, where=f"layer {name}", fix=_EXPORT)
        kind: Kind = "Activation"
        options: dict[str, Option] = {"activation": call.name}
        if call.name not in _ACTIVATIONS or call.args or call.kwargs:
            saturation = quantizers.activation(call, f"layer {name}")
            kind, options = "ReLU", {"max_value": saturation.high}
            if saturation.low:
                kind, options = "Clip", {"low": saturation.low, "high": saturation.high}
            self.notes += saturation.notes
        self._add(Layer(name=name, kind=kind, options=options, inputs=inputs))

    def _add(self, layer: Layer) -> None:
        self.layers.append(layer)
        self._given_by[layer.name] = layer.name

    def _source(self, name: str, where: str) -> str:
        if name not in self._given_by:
            raise BadModelError(f"reads {name[:60]!r}, which does not come before it", where=where)
        return self._given_by[name]

    def _weights(self, class_name: str, kind: str, name: str, config: Config) -> Arrays:
        absent = {
            weight
            for weight, key in (("bias", "use_bias"), ("gamma", "scale"), ("beta", "center"))
            if config.get(key, True) is False
        }
        bare = class_name.rpartition(">")[2]
        found = self._store.weights(LayerKey(name, bare, self._weighted, weights_of(kind, absent)))
        self._weighted += 1
        self._values += sum(array.size for array in found.values())
        if self._values > MAX_VALUES:
            raise BadModelError(f"more than {MAX_VALUES:,} weights in the model", where=f"layer {name}")
        if class_name == "TernaryDense":
            return found | {"kernel": _bitnet(found["kernel"], config.get("threshold"), f"layer {name}")}
        if not class_name.startswith("Q"):
            return found
        return {
            weight: self._quantized(weight, values, config.get(_QUANTIZER_KEYS[weight]), f"layer {name}")
            for weight, values in found.items()
        }

    def _quantized(self, weight: str, values: Any, quantizer: object, where: str) -> Any:
        call = expressions.parse(quantizer, f"{where}: {_QUANTIZER_KEYS[weight]}")
        return values if call is None else quantizers.quantized(call, values, f"{where}: {weight}")


def _bitnet(kernel: Any, threshold: object, where: str) -> Any:
    """The kernel of Keras' `TernaryDense`: BitNet b1.58 (arXiv 2402.17764, section 3.1), or with a threshold."""
    if threshold is not None and not isinstance(threshold, int | float):
        raise BadModelError(f"its threshold is a {type(threshold).__name__}", where=where)
    mean = np.mean(np.abs(kernel))
    bound, scale = (0.5 * mean, mean) if threshold is None else (float(threshold), 1.0)
    return np.asarray(np.sign(kernel) * (np.abs(kernel) > bound) * scale, np.float32)


def _list_of_layers(config: Config) -> list[Config]:
    layers = config.get("layers")
    if not isinstance(layers, list) or not all(isinstance(entry, dict) for entry in layers):
        raise BadModelError("its configuration lists no layers")
    if not 0 < len(layers) <= _MAX_LAYERS:
        raise BadModelError(f"{len(layers)} layers")
    return layers


def _config_of(entry: Config) -> Config:
    config = entry.get("config")
    if not isinstance(config, dict):
        raise BadModelError("a layer without a configuration")
    return config


def _sources(nodes: object, name: str) -> Iterator[str]:
    """Names of the layers that a layer's only call reads, written as in Keras 2 (lists) or in Keras 3 (tensors)."""
    if isinstance(nodes, dict):
        if nodes.get("class_name") == "__keras_tensor__":
            history = _config_of(nodes).get("keras_history")
            if not isinstance(history, list) or not history or not isinstance(history[0], str):
                raise BadModelError("an input without a source", where=f"layer {name}")
            yield history[0]
        else:
            yield from _sources(list(nodes.values()), name)
    elif isinstance(nodes, list):
        if len(nodes) >= 3 and isinstance(nodes[0], str) and isinstance(nodes[1], int):
            yield nodes[0]
        else:
            for node in nodes:
                yield from _sources(node, name)


def _ends(value: object) -> Iterator[str]:
    """Names of a model's input or output layers, given as [name, 0, 0] or as a list of these."""
    if isinstance(value, list):
        if value and isinstance(value[0], str):
            yield value[0]
        else:
            for part in value:
                yield from _ends(part)


def _check_fixed(config: Config, where: str) -> None:
    for key, allowed in _FIXED.items():
        if key in config and config[key] not in allowed:
            raise BadModelError(f"{key} is {config[key]!r}", where=where, fix=f"only {allowed[0]!r} is taken")


def _norm_axis(config: Config, where: str) -> Option:
    axis = _option(config.get("axis", -1), where)
    last = axis[0] if isinstance(axis, tuple) and len(axis) == 1 else axis
    if last not in (-1, 1, 3):
        raise BadModelError(f"normalises axis {axis!r}", where=where, fix="only the channels, last, are taken")
    return last


def _shape(value: object, where: str) -> Option:
    sizes = _option(value, where)
    if not isinstance(sizes, tuple) or len(sizes) < 2 or not all(isinstance(s, int) and s > 0 for s in sizes[1:]):
        raise BadModelError(f"its input shape is {value!r}", where=where, fix="give the model a fixed input shape")
    return sizes[1:]


def _option(value: object, where: str) -> Option:
    """A plain value. Lists and Keras' encoded tuples become tuples."""
    if isinstance(value, dict) and value.get("class_name") == "__tuple__":
        value = value.get("items", value.get("config"))
    if isinstance(value, list | tuple):
        return tuple(_option(item, where) for item in value)  # type: ignore[misc] # deeper nesting fails in the record
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise BadModelError(f"a {type(value).__name__} where a number belongs", where=where)
