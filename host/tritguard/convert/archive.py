"""Keras models of unknown origin: read in a process of their own, built anew here.

Keras rebuilds the classes and functions a file names. Its safe mode refuses lambdas, but has been got around more than
once (CVE-2025-1550 and its successors), and legacy files have none: nothing in a file is ever deserialised by Keras.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.convert.apart import run_apart
from tritguard.errors import BadInputError, BadModelError, about
from tritguard.foreign.description import DESCRIPTION, WEIGHTS, Description, Layer
from tritguard.foreign.stores import MAX_VALUES
from tritguard.records import from_json
from tritguard.train import layers as ternary
from tritguard.train.backend import keras


class Clip(keras.layers.Layer):  # type: ignore[misc]
    """max(low, min(high, x)): QKeras' signed activations without their rounding."""

    def __init__(self, low: float, high: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.low, self.high = low, high

    def call(self, inputs: Any) -> Any:
        """float32 -> float32 of the same shape."""
        return keras.ops.clip(inputs, self.low, self.high)

    def get_config(self) -> dict[str, Any]:
        """The layer's configuration, as Keras stores it."""
        return {**super().get_config(), "low": self.low, "high": self.high}


_OWN: dict[str, Any] = {"Clip": Clip} | {f"tritguard>{cls.__name__}": cls for cls in ternary.LAYERS}


def load_model(path: Path, note: Callable[[str], None] | None = None) -> Any:
    """Load a model of Keras or QKeras, in inference form.

    Args:
        path: an `.h5` or `.keras` file, or a SavedModel's folder.
        note: called with each thing the deployed network will do otherwise than the file says.

    Returns:
        keras.Model: functional, one input and one output, not compiled, of plain layers and tritguard's ternary ones;
            weights quantized by QKeras have the values QKeras computes with.

    Raises:
        BadInputError: there is no such file.
        BadModelError: the file holds anything that is not on `configuration`'s or `quantizers`' lists.
        ToolMissingError: it needs QKeras, which is not installed.
    """
    if not path.exists():
        raise BadInputError("cannot be read (No such file or directory)", where=str(path))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
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
    except Exception as error:  # Keras raises many kinds on options that do not fit
        first_line = str(error).strip().partition("\n")[0]
        raise BadModelError(f"Keras cannot build it ({first_line})", where=str(path)) from error


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
        raise BadModelError("no input")
    return keras.Model(inputs, tensors[description.output], name="model")


def _check_shape(layer: Layer, built: Any, inputs: tuple[Any, ...], found: tuple[int, ...]) -> None:
    """Hold a layer's first weights against its options, which Keras would take memory for.

    Args:
        layer: with weights.
        built: its Keras layer, not built yet.
        inputs: shape of what it reads, with the batch.
        found: shape of its first weights in the file.

    Raises:
        BadModelError: they do not fit.
    """
    if isinstance(built, keras.layers.BatchNormalization):
        wanted: tuple[Any, ...] = (inputs[built.axis],)
    elif isinstance(built, keras.layers.Dense):
        wanted = (inputs[-1], built.units)
    else:
        outputs = built.depth_multiplier if isinstance(built, keras.layers.DepthwiseConv2D) else built.filters
        wanted = (*built.kernel_size, inputs[-1], outputs)
    if found != wanted:
        what = f"its {layer.weights[0]} is {found} in the file, by its options {wanted}"
        raise BadModelError(what, where=f"layer {layer.name}")


def _keras_name(layer: Layer, index: int) -> str:
    """The layer's own name where Keras takes it."""
    return layer.name if layer.name.replace("_", "").isalnum() else f"layer_{index}"
