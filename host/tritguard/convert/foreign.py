"""A foreign model as a plain Keras model: read in a process of its own, built anew here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tritguard
from tritguard.errors import BadInputError, BadModelError, ToolMissingError
from tritguard.foreign.description import DESCRIPTION, FAILURE, WEIGHTS, Description, Layer
from tritguard.records import from_json
from tritguard.train.backend import keras

_TIMEOUT_S = 600
_NATIVE_TERNARY = ("keras.layers", "TernaryDense")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_KEPT = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "TEMP")  # of the environment: what Python itself may need


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
        _read_apart(path.resolve(), folder)
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


def _read_apart(path: Path, folder: Path) -> None:
    """Run the worker on a model: without the user's environment, in an empty folder, and not for ever."""
    package = Path(tritguard.__file__).parents[1]
    environment = {key: os.environ[key] for key in _KEPT if key in os.environ}
    environment |= {"PYTHONPATH": str(package), "HOME": str(folder), "PYTHONSAFEPATH": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "tritguard.foreign.worker", str(path), str(folder)]
    try:
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise BadModelError(f"not read within {_TIMEOUT_S} s", where=str(path)) from error
    if (folder / FAILURE).is_file():
        raise _failure(json.loads((folder / FAILURE).read_text()), path)
    if run.returncode != 0 or not (folder / DESCRIPTION).is_file():
        last = run.stderr.decode(errors="replace").strip().splitlines()[-1:]
        what = f"the process that reads it ended with {run.returncode} ({' '.join(last)[:200]})"
        raise BadModelError(what, where=str(path))


def _failure(content: dict[str, Any], path: Path) -> Exception:
    where = f"{path}: {content['where']}" if content.get("where") else str(path)
    kind = ToolMissingError if content["kind"] == "missing" else BadModelError
    return kind(content["what"], where=where, fix=content.get("fix"))


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
