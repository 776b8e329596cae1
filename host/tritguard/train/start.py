"""The weights of an earlier training, taken as those a training starts from: training in stages."""

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
from tritguard.train.config import MODEL

_WEIGHTS = "model.weights.h5"  # of a .keras archive
_MAX_WEIGHTS_BYTES = 256 << 20
_FIX = "start from a model.keras of the same net, trained on samples of the same shape and as many classes"

Weights = dict[str, list[NDArray[np.float32]]]


def start_file(start: str) -> Path:
    """The `.keras` file that `TrainConfig.start` names: itself, or the model in a training's folder."""
    path = Path(start)
    return path / MODEL if path.is_dir() else path


def start_digest(start: str) -> str | None:
    """SHA-256 of the file a training starts from; None where there is none.

    Raises:
        BadInputError: it cannot be read.
    """
    return hashlib.sha256(_read(start_file(start))).hexdigest() if start else None


def set_start_weights(net: Any, start: str) -> str:
    """Give a net the weights that an earlier training left, by its layers' names.

    The file's quantizers do not matter: it holds the float weights behind them. Nothing in it is deserialised.

    Args:
        net: keras.Model of plain layers, before it is quantized.
        start: as `TrainConfig.start`.

    Returns:
        SHA-256 of the file.

    Raises:
        BadInputError: no `.keras` file, or not this net's weights.
    """
    path = start_file(start)
    content = _read(path)
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
        raise BadInputError(f"has weights for {surplus[0]}, which {net.name} has not", where=str(path), fix=_FIX)
    return hashlib.sha256(content).hexdigest()


def _weights(content: bytes, path: Path) -> Weights:
    """Of each layer with weights, by its name, its arrays as Keras orders them."""
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
    except Exception as error:  # zipfile and h5py raise many kinds on a broken file
        raise BadInputError(f"no weights of a .keras file ({error})", where=str(path), fix=_FIX) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot be read ({error.strerror})", where=str(path), fix=_FIX) from error
