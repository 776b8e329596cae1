"""A foreign model as a plain Keras model: read in a process of its own, built anew here."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.convert.apart import run_apart
from tritguard.errors import BadInputError, BadModelError
from tritguard.foreign.description import DESCRIPTION, WEIGHTS, Description, Layer
from tritguard.records import from_json
from tritguard.train.backend import keras

_NATIVE_TERNARY = ("keras.layers", "TernaryDense")
_HDF5 = b"\x89HDF\r\n\x1a\n"


def is_foreign(path: Path) -> bool:
    """Whether a model is to be read by `take`: no `.keras` file of Keras 3, or one with Keras' own TernaryDense.

    A file that is neither is left to what reads `.keras` files, and to its message.
    """
    if path.is_dir():
        return True
    try:
        with path.open("rb") as file:
            if file.read(len(_HDF5)) == _HDF5:
                return True
        with zipfile.ZipFile(path) as archive:
            metadata = json.loads(archive.read("metadata.json"))
            config = json.loads(archive.read("config.json"))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, RecursionError):
        return False
    if not isinstance(metadata, dict) or not isinstance(config, dict):
        return False
    model = config.get("config")
    layers = model.get("layers") if isinstance(model, dict) else None
    return str(metadata.get("keras_version", "")).startswith("2.") or any(
        isinstance(layer, dict) and (layer.get("module"), layer.get("class_name")) == _NATIVE_TERNARY
        for layer in (layers if isinstance(layers, list) else ())
    )


def take(path: Path, note: Callable[[str], None] | None = None) -> Any:
    """Read a model of QKeras, of Keras 2, or with Keras' TernaryDense.

    Args:
        path: an `.h5` or `.keras` file, or a SavedModel's folder.
        note: called with each thing the deployed network will do otherwise than the file says.

    Returns:
        keras.Model: functional, of plain layers; weights quantized by QKeras have the values QKeras computes with.

    Raises:
        BadModelError: the file holds anything that is not on `configuration`'s or `quantizers`' lists.
        ToolMissingError: it needs QKeras, which is not installed.
    """
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
        return _build(description, weights)
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
        built = getattr(keras.layers, layer.kind)(name=_keras_name(layer, index), **layer.options)
        sources = [tensors[name] for name in layer.inputs]
        tensors[layer.name] = built(sources if layer.kind == "Add" else sources[0])
        if layer.weights:
            built.set_weights([weights[f"{index}_{name}"] for name in layer.weights])
    if inputs is None:
        raise BadInputError("no input")
    return keras.Model(inputs, tensors[description.output], name="model")


def _keras_name(layer: Layer, index: int) -> str:
    """The layer's own name where Keras takes it."""
    return layer.name if layer.name.replace("_", "").isalnum() else f"layer_{index}"
