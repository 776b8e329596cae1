"""Makes a `Description` of a model's configuration (JSON) and weights. Runs in the reading process only."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from tritguard.errors import BadModelError
from tritguard.foreign import expressions, quantizers
from tritguard.foreign.description import Description, Kind, Layer, Option
from tritguard.foreign.expressions import Call
from tritguard.foreign.nesting import MAX_DEPTH, MAX_LAYERS, Flat, Net, Part, Source, ends, sources
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
    "QConv2DBatchnorm": ("Conv2D", ("filters", *_CONV)),
    "QDepthwiseConv2DBatchnorm": ("DepthwiseConv2D", ("depth_multiplier", *_CONV)),
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
_FOLDING = "Batchnorm"  # what the names of QKeras' layers end in that fold a batch norm
# Options that must have one of these values if they are given.
_FIXED: dict[str, tuple[object, ...]] = {
    "groups": (1,),
    "data_format": ("channels_last", None),
    "renorm": (False, None),
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
_FUNCTIONAL = {"Functional", "Model"}
_MODELS = _FUNCTIONAL | {"Sequential"}
_ORIGINS = {"keras", "tf_keras", "tensorflow", "qkeras"}
_ADVICE = f"layers taken: {', '.join(sorted(_CLASSES))}"
_EXPORT = "export the model, model.export(folder), and give that: a graph tells what the layer computes"


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
    reader = _Reader()
    net = reader.model(model, store)
    if net is None:
        what = f"a {str(model.get('class_name'))[:60]} model"
        raise BadModelError(what, fix="only functional and sequential ones are taken")
    if len(net.outputs) != 1 or len(net.inputs) != 1:
        raise BadModelError("not one input and one output")
    flat = Flat()
    shape = _input_shape(model)
    name = net.inputs[0].name
    given = flat.add(Layer(name=name, kind="InputLayer", options={"shape": shape}, inputs=()), {}, name, ())
    (output,) = flat.call(net, (given,))
    return Description(layers=tuple(flat.layers), output=output, notes=tuple(reader.notes)), flat.weights


def needs_qkeras(model: Config) -> bool:
    """Whether any layer of the model, or of a model in it, is a layer of QKeras or has an activation of it."""
    config = model.get("config")
    layers = config.get("layers") if isinstance(config, dict) else config
    return isinstance(layers, list) and any(isinstance(entry, dict) and _is_of_qkeras(entry) for entry in layers)


def _is_of_qkeras(entry: Config) -> bool:
    config, is_layer = entry.get("config"), str(entry.get("class_name")).startswith("Q")
    activation = config.get("activation") if isinstance(config, dict) else None
    return is_layer or quantizers.makes_activation(activation) or needs_qkeras(entry)


class _Reader:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self._values = 0

    def model(self, model: Config, store: Store, depth: int = 0) -> Net | None:
        """The network of a functional or sequential model; None if it is neither."""
        config = model.get("config")
        if model.get("class_name") in _FUNCTIONAL and isinstance(config, dict):
            calls, outputs = _calls_and_outputs(config)
            inputs = tuple(ends(config.get("input_layers")))
            return Net(self._parts(config, calls, store, depth), inputs, outputs)
        if model.get("class_name") != "Sequential":
            return None
        config = config if isinstance(config, dict) else {"layers": config}
        entries = _list_of_layers(config)
        names = [str(_config_of(entry).get("name")) for entry in entries]
        first = names[0] if entries[0].get("class_name") == "InputLayer" else f"{names[0]}_input"
        chain = [first, *(name for name in names if name != first)]
        before = dict(zip(chain[1:], chain, strict=False))
        calls = [((Source(before[name]),),) if name in before else () for name in names]
        return Net(self._parts(config, calls, store, depth), (Source(first),), (Source(chain[-1]),))

    def _parts(
        self, config: Config, calls: list[tuple[tuple[Source, ...], ...]], store: Store, depth: int
    ) -> tuple[Part, ...]:
        if depth > MAX_DEPTH:
            raise BadModelError(f"models in models, more than {MAX_DEPTH} deep")
        parts: dict[str, Part] = {}
        weighted = 0
        for entry, of_layer in zip(_list_of_layers(config), calls, strict=True):
            name = str(entry.get("name") or _config_of(entry).get("name"))
            where = f"layer {name}"
            class_name = self._class_of(entry, where)
            if name in parts:
                raise BadModelError("two layers of this name", where=where)
            if class_name == "InputLayer":
                parts[name] = Part(name, ())
                continue
            if not of_layer:
                raise BadModelError("reads nothing", where=where)
            if class_name in _MODELS:
                net = self.model(entry, store.inside(LayerKey(name, class_name, weighted, ())), depth + 1)
                assert net is not None
                parts[name] = Part(name, of_layer, net=net)
            else:
                layers, weights = self._layer(class_name, name, _config_of(entry), weighted, store)
                parts[name] = Part(name, of_layer, layers, weights)
            weighted += _has_weights(parts[name])
        return tuple(parts.values())

    def _layer(
        self, class_name: str, name: str, config: Config, weighted: int, store: Store
    ) -> tuple[tuple[Layer, ...], Arrays]:
        """The layers that a layer becomes, which are itself and its activation if it has one, and its weights."""
        where = f"layer {name}"
        if class_name not in _CLASSES:
            raise BadModelError(f"a {class_name[:60]}, which is not taken", where=where, fix=_ADVICE)
        kind, wanted = _CLASSES[class_name]
        _check_fixed(config, where)
        options = {key: _option(config[key], f"{where}: {key}") for key in wanted if key in config}
        if class_name.endswith(_FOLDING):
            options["use_bias"] = True  # the bias of the batch norm
        if kind == "BatchNormalization":
            options["axis"] = _norm_axis(config, where)
        weights: Arrays = {}
        if kind.endswith(_WEIGHTS):
            weights = self._weights(class_name, kind, name, config, weighted, store)
        call = expressions.parse(config.get("activation"), f"{where}: activation")
        if kind == "Activation":
            return (self._activation(call or Call("linear"), name),), {}
        layer = Layer(name=name, kind=kind, options=options, inputs=())
        if call is None or call.name == "linear":
            return (layer,), weights
        return (layer, self._activation(call, f"{name}_activation")), weights

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

    def _activation(self, call: Call, name: str) -> Layer:
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
        return Layer(name=name, kind=kind, options=options, inputs=())

    def _weights(self, class_name: str, kind: str, name: str, config: Config, weighted: int, store: Store) -> Arrays:
        absent = {
            weight
            for weight, key in (("bias", "use_bias"), ("gamma", "scale"), ("beta", "center"))
            if config.get(key, True) is False
        }
        bare = class_name.rpartition(">")[2]
        folds = class_name.endswith(_FOLDING)
        norm = weights_of("BatchNormalization", absent) if folds else ()
        where = f"layer {name}"
        _check_dtype(config, where)
        try:
            found = store.weights(LayerKey(name, bare, weighted, weights_of(kind, absent), norm))
        except BadModelError as error:
            error.where = f"{where}: {error.where}" if error.where else where
            raise
        self._values += sum(array.size for array in found.values())
        if self._values > MAX_VALUES:
            raise BadModelError(f"more than {MAX_VALUES:,} weights in the model", where=f"layer {name}")
        if class_name == "TernaryDense":
            return found | {"kernel": _bitnet(found["kernel"], config.get("threshold"), f"layer {name}")}
        if not class_name.startswith("Q"):
            return found
        if folds:
            found = _folded(found, config, f"layer {name}")
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


def _folded(found: Arrays, config: Config, where: str) -> Arrays:
    """Kernel and bias of a QKeras layer that folds its batch norm before it quantizes, as it does at inference."""
    if "beta" not in found:
        raise BadModelError("center=False, with which QKeras cannot compute it", where=where, fix="save it with center")
    epsilon = config.get("epsilon")
    if not isinstance(epsilon, int | float) or not 0 < epsilon < 1:
        raise BadModelError(f"its epsilon is {str(epsilon)[:20]}", where=where)
    _norm_axis(config, where)
    gain = found.get("gamma", np.float32(1)) / np.sqrt(found["moving_variance"] + np.float32(epsilon))
    bias = (found.get("bias", np.float32(0)) - found["moving_mean"]) * gain + found["beta"]
    name = "depthwise_kernel" if "depthwise_kernel" in found else "kernel"
    kernel = found[name]
    channels = kernel.shape[2:] if name == "depthwise_kernel" else kernel.shape[-1:]
    if gain.size != math.prod(channels) or not np.isfinite(gain).all():
        raise BadModelError(f"a batch norm of {gain.shape} for a kernel of {kernel.shape}", where=where)
    return {name: np.asarray(kernel * gain.reshape(channels), np.float32), "bias": np.asarray(bias, np.float32)}


def _list_of_layers(config: Config) -> list[Config]:
    layers = config.get("layers")
    if not isinstance(layers, list) or not all(isinstance(entry, dict) for entry in layers):
        raise BadModelError("its configuration lists no layers")
    if not 0 < len(layers) <= MAX_LAYERS:
        raise BadModelError(f"{len(layers)} layers")
    return layers


def _config_of(entry: Config) -> Config:
    config = entry.get("config")
    if not isinstance(config, dict):
        raise BadModelError("a layer without a configuration")
    return config


def _calls_and_outputs(config: Config) -> tuple[list[tuple[tuple[Source, ...], ...]], tuple[Source, ...]]:
    """What each call of each layer of a functional model reads, and the model's outputs, calls counted from 0.

    Files count the calls of a model inside the model from 1 if a call of its own, on its inputs, came first: Keras 2
    everywhere, Keras 3 for the outputs of the model around it.
    """
    entries = _list_of_layers(config)
    nodes = {
        str(entry.get("name") or _config_of(entry).get("name")): entry.get("inbound_nodes") or [] for entry in entries
    }
    for name, of_layer in nodes.items():
        if not isinstance(of_layer, list) or len(of_layer) > MAX_LAYERS:
            raise BadModelError("its calls are not a list, or are too many", where=f"layer {name}")
    keras_3 = any(isinstance(node, dict) for of_layer in nodes.values() for node in of_layer)
    first = {name: _first_call(entry, keras_3) for name, entry in zip(nodes, entries, strict=False)}

    def counted(source: Source) -> Source:
        return replace(source, call=max(0, source.call - first.get(source.name, 0)))

    outputs = tuple(counted(source) for source in ends(config.get("output_layers")))
    calls = []
    for entry in entries:
        name = str(entry.get("name") or _config_of(entry).get("name"))
        read = [tuple(sources(node, name)) for node in nodes[name]]
        calls.append(tuple(each if keras_3 else tuple(map(counted, each)) for each in read))
    return calls, outputs


def _first_call(entry: Config, keras_3: bool) -> int:
    """The number of a layer's first call in its file."""
    config = entry.get("config")
    if entry.get("class_name") in _FUNCTIONAL:
        return 1
    if entry.get("class_name") != "Sequential" or keras_3:
        return 0
    layers = _list_of_layers(config if isinstance(config, dict) else {"layers": config})
    return int(layers[0].get("class_name") == "InputLayer")


def _has_weights(part: Part) -> bool:
    return bool(part.weights) or (part.net is not None and any(map(_has_weights, part.net.parts)))


def _input_shape(model: Config) -> Option:
    """The shape of a model's input, without the batch, from its first layer or, if that is a model, from its first."""
    entry = model
    for _ in range(MAX_DEPTH):
        config = entry.get("config")
        entries = _list_of_layers(config if isinstance(config, dict) else {"layers": config})
        entry = next((each for each in entries if each.get("class_name") == "InputLayer"), entries[0])
        if entry.get("class_name") not in _MODELS:
            break
    config = _config_of(entry)
    return _shape(config.get("batch_shape") or config.get("batch_input_shape"), f"layer {config.get('name')}")


def _check_fixed(config: Config, where: str) -> None:
    for key, allowed in _FIXED.items():
        if key in config and config[key] not in allowed:
            raise BadModelError(f"{key} is {config[key]!r}", where=where, fix=f"only {allowed[0]!r} is taken")


def _check_dtype(config: Config, where: str) -> None:
    """Refuse weights that Keras itself has quantized, or keeps in a type that NumPy lacks."""
    policy = config.get("dtype")
    of_policy = policy.get("config") if isinstance(policy, dict) else {"name": policy}
    names = of_policy if isinstance(of_policy, dict) else {}
    if mode := names.get("mode"):
        what = f"its weights are {str(mode)[:20]}, as Keras' model.quantize leaves them"
        raise BadModelError(what, where=where, fix="give the model from before model.quantize")
    if names.get("name") == "bfloat16":
        fix = "save it with float32 weights: the dtype policy mixed_bfloat16 has them"
        raise BadModelError("its weights are bfloat16", where=where, fix=fix)


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
