"""Keras models of unknown origin: read in a process of their own, built anew here.

Keras rebuilds the classes and functions a file names. Its safe mode refuses lambdas, but has been got around more than
once (CVE-2025-1550 and its successors), and legacy files have none: nothing in a file is ever deserialised by Keras.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.convert.apart import run_apart
from tritguard.errors import BadInputError, BadModelError
from tritguard.foreign.description import DESCRIPTION, WEIGHTS, Description, Layer
from tritguard.records import from_json
from tritguard.train import layers as ternary
from tritguard.train.backend import keras

_TERNARY: dict[str, Any] = {f"tritguard>{cls.__name__}": cls for cls in ternary.LAYERS}


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
        kind = _TERNARY.get(layer.kind) or getattr(keras.layers, layer.kind)
        built = kind(name=_keras_name(layer, index), **layer.options)
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
