"""Loads the weights of an earlier training as the initial ones of a new training, for training in stages."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tritguard.errors import BadInputError
from tritguard.files import read_bytes
from tritguard.train.config import MODEL

_WEIGHTS = "model.weights.h5"  # in a .keras archive
_MAX_WEIGHTS_BYTES = 256 << 20
_FIX = "start from a model.keras of the same net, trained on samples of the same shape and as many classes"

Weights = dict[str, list[NDArray[np.float32]]]


def start_file(start: str) -> Path:
    """The `.keras` file that `TrainConfig.start` names, directly or by the folder of the training that wrote it."""
    path = Path(start)
    return path / MODEL if path.is_dir() else path


def start_digest(start: str) -> str | None:
    """The SHA-256 of the file from which a training starts, or None if there is none.

    Raises:
        BadInputError: the file cannot be read.
    """
    return hashlib.sha256(read_bytes(start_file(start), fix=_FIX)).hexdigest() if start else None


def set_start_weights(net: Any, start: str) -> str:
    """Set a net's weights to those of an earlier training, matching layers by name.

    The quantizers of the earlier training do not matter, because the file holds the float weights behind them. Nothing
    in the file is deserialised.

    Args:
        net: keras.Model of plain layers, before it is quantized.
        start: the value of `TrainConfig.start`.

    Returns:
        The SHA-256 of the file.

    Raises:
        BadInputError: it is not a `.keras` file, or its weights are not those of this net.
    """
    path = start_file(start)
    content = read_bytes(path, fix=_FIX)
    kept = _weights(content, path)
    for layer in net.layers:
        wanted = [tuple(variable.shape) for variable in layer.weights]
        found = [values.shape for values in kept.get(layer.name, [])]
        if wanted != found:
            what = f"weights {found}, not {wanted}" if found else "no weights"
            raise BadInputError(f"has {what} for {net.name}'s layer {layer.name}", where=str(path), fix=_FIX)
        if wanted:
            layer.set_weights(kept[layer.name])
    surplus = sorted(kept.keys() - {layer.name for layer in net.layers})
    if surplus:
        raise BadInputError(f"has weights for {surplus[0]}, which {net.name} does not have", where=str(path), fix=_FIX)
    return hashlib.sha256(content).hexdigest()


def _weights(content: bytes, path: Path) -> Weights:
    """The arrays of each layer with weights, by its name, in Keras' order."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive, archive.open(_WEIGHTS) as file:
            packed = file.read(_MAX_WEIGHTS_BYTES)
        with h5py.File(io.BytesIO(packed), "r") as store:
            groups = [layer["vars"] for layer in store["layers"].values() if "vars" in layer]
            named = {str(group.attrs["name"]): group for group in groups if len(group)}
            return {
                name: [np.asarray(group[str(index)], np.float32) for index in range(len(group))]
                for name, group in named.items()
            }
    except Exception as error:  # zipfile and h5py raise many kinds of errors on a broken file
        raise BadInputError(
            f"does not hold the weights of a .keras file ({error})", where=str(path), fix=_FIX
        ) from error
