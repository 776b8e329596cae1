"""Loads Keras models of unknown origin: a separate process reads them, and they are built anew here.

When Keras deserialises a file, it rebuilds the classes and functions that the file names. Its safe mode refuses
lambdas, but has been bypassed more than once (CVE-2025-1550 and its successors), and legacy files have no safe mode.
Keras therefore never deserialises anything in a file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.convert.apart import run_apart
from tritguard.errors import BadInputError, BadModelError, about, first_line
from tritguard.files import scratch_folder
from tritguard.foreign.description import DESCRIPTION, WEIGHTS, Description, Layer
from tritguard.foreign.stores import MAX_VALUES
from tritguard.records import from_json
from tritguard.train import layers as ternary
from tritguard.train.backend import keras


class Clip(keras.layers.Layer):  # type: ignore[misc]
    """max(low, min(high, x)): a signed activation of QKeras without its rounding."""

    def __init__(self, low: float, high: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.low, self.high = low, high

    @override
    def call(self, inputs: Any) -> Any:
        return keras.ops.clip(inputs, self.low, self.high)

    @override
    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "low": self.low, "high": self.high}


_OWN: dict[str, Any] = {"Clip": Clip} | {f"tritguard>{cls.__name__}": cls for cls in ternary.LAYERS}


def load_model(path: Path, note: Callable[[str], None] | None = None) -> Any:
    """Load a Keras or QKeras model in the form it has at inference.

    Args:
        path: an `.h5` or `.keras` file, or the folder of a SavedModel.
        note: called with a sentence for each thing that the deployed network will do differently from the file.

    Returns:
        keras.Model: a functional model with one input and one output, not compiled, of plain layers and tritguard's
            ternary ones. Weights that QKeras quantizes have the values with which QKeras computes.

    Raises:
        BadInputError: there is no such file.
        BadModelError: the file holds anything that is not on the lists of `tritguard.foreign.configuration` and
            `tritguard.foreign.quantizers`.
        ToolMissingError: the model needs QKeras, which is not installed.
    """
    if not path.exists():
        raise BadInputError("cannot be read (No such file or directory)", where=str(path))
    with scratch_folder() as folder:
        run_apart("tritguard.foreign.worker", path, folder)
        description = from_json(Description, folder / DESCRIPTION)
        with np.load(folder / WEIGHTS, allow_pickle=False) as file:
            weights = dict(file)
    for line in description.notes:
        if note:
            note(line)
    try:
        with about(path):
            return _build(description, weights)
    except BadModelError:
        raise
    except Exception as error:  # Keras raises many kinds of errors on options that do not fit
        raise BadModelError(f"Keras cannot build it ({first_line(error)})", where=str(path)) from error


def _build(description: Description, weights: dict[str, NDArray[np.float32]]) -> Any:
    tensors: dict[str, Any] = {}
    inputs = None
    for index, layer in enumerate(description.layers):
        if layer.kind == "InputLayer":
            tensors[layer.name] = inputs = keras.Input(layer.options["shape"], name=f"input_{index}")
            continue
        kind = _OWN.get(layer.kind) or getattr(keras.layers, layer.kind)
        built = kind(name=_keras_name(layer, index), **layer.options)
        sources = [tensors[name] for name in layer.inputs]
        values = [weights[f"{index}_{name}"] for name in layer.weights]
        if values:
            _check_shape(layer, built, sources[0].shape, values[0].shape)
        tensors[layer.name] = built(sources if layer.kind == "Add" else sources[0])
        if math.prod(tensors[layer.name].shape[1:]) > MAX_VALUES:
            raise BadModelError(f"gives {tensors[layer.name].shape[1:]}", where=f"layer {layer.name}")
        if values:
            built.set_weights(values)
    if inputs is None:
        raise BadModelError("the network has no input")
    return keras.Model(inputs, tensors[description.output], name="model")


def _check_shape(layer: Layer, built: Any, inputs: tuple[Any, ...], found: tuple[int, ...]) -> None:
    """Check the shape of a layer's first weights before Keras allocates the memory that its options ask for.

    Args:
        layer: a layer with weights.
        built: its Keras layer, not built yet.
        inputs: shape of its input, with the batch.
        found: shape of its first weights in the file.

    Raises:
        BadModelError: the weights do not fit the options.
    """
    if isinstance(built, keras.layers.BatchNormalization):
        wanted: tuple[Any, ...] = (inputs[built.axis],)
    elif isinstance(built, keras.layers.Dense):
        wanted = (inputs[-1], built.units)
    else:
        outputs = built.depth_multiplier if isinstance(built, keras.layers.DepthwiseConv2D) else built.filters
        wanted = (*built.kernel_size, inputs[-1], outputs)
    if found != wanted:
        what = f"its {layer.weights[0]} is {found} in the file, but {wanted} according to its options"
        raise BadModelError(what, where=f"layer {layer.name}")


def _keras_name(layer: Layer, index: int) -> str:
    """The layer's own name if Keras accepts it, else `layer_INDEX`."""
    return layer.name if layer.name.replace("_", "").isalnum() else f"layer_{index}"
