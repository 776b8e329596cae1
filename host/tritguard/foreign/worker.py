"""The reading process: a file of unknown origin becomes a description and arrays, or a reason why not.

Called as `python -m tritguard.foreign.worker MODEL FOLDER`, and by nothing else.
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

# QKeras needs Keras 2, which is chosen when TensorFlow is imported.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import numpy as np

from tritguard.errors import BadModelError
from tritguard.foreign.configuration import Config, describe, needs_qkeras
from tritguard.foreign.description import DESCRIPTION, WEIGHTS
from tritguard.foreign.guard import bounded, failures_in, forbid, limit
from tritguard.foreign.quantizers import import_qkeras
from tritguard.foreign.stores import CheckpointStore, Hdf5Store, KerasZipStore, Store

_MAX_CONFIG_BYTES = 16 << 20
_NO_CONFIGURATION = "save the whole model, not its weights alone"


def main(model: Path, folder: Path) -> None:
    """Read a model and write what it is into a folder.

    Raises:
        TritguardError: it cannot be taken.
    """
    limit()
    config, store = _open(model)
    if needs_qkeras(config):  # now: its imports do things that are refused from here on
        import_qkeras()
    forbid(folder)
    description, weights = describe(config, store)
    arrays = {
        f"{index}_{name}": values
        for index, layer in enumerate(description.layers)
        for name, values in weights.get(layer.name, {}).items()
    }
    np.savez(folder / WEIGHTS, **arrays)  # type: ignore[arg-type] # its parameter allow_pickle is no array
    (folder / DESCRIPTION).write_text(description.model_dump_json())


def _open(path: Path) -> tuple[Config, Store]:
    """The configuration and the weights of a model, by what the file is, whatever its name."""
    if path.is_dir():
        return _saved_model(path), CheckpointStore(path)
    if h5py.is_hdf5(path):
        file = h5py.File(path, "r")
        if "model_config" not in file.attrs:
            raise BadModelError("no configuration of a model in it", fix=_NO_CONFIGURATION)
        return _json(file.attrs["model_config"]), Hdf5Store(file)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if "config.json" not in archive.namelist():
                raise BadModelError("no configuration of a model in it", fix=_NO_CONFIGURATION)
            config = _json(_member(archive, "config.json"))
        return config, KerasZipStore(path)
    raise BadModelError(
        "neither HDF5, a .keras file nor a SavedModel (pickles are refused)", fix="save it with Keras' model.save()"
    )


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as file:
        return file.read(_MAX_CONFIG_BYTES + 1)


def _json(text: Any) -> Config:
    if not isinstance(text, bytes | str) or len(text) > _MAX_CONFIG_BYTES:
        raise BadModelError("its configuration is no text of sensible length")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadModelError("its configuration is not JSON") from error
    if not isinstance(config, dict):
        raise BadModelError("its configuration is not that of a model")
    return config


def _saved_model(folder: Path) -> Config:
    """The configuration Keras left in a SavedModel: in a file of its own, before TensorFlow 2.5 in the graph's."""
    if not (folder / "saved_model.pb").is_file():
        raise BadModelError("a folder without saved_model.pb")
    if (folder / "keras_metadata.pb").is_file():
        from tensorflow.python.keras.protobuf import saved_metadata_pb2  # noqa: PLC0415 - see CheckpointStore

        metadata = saved_metadata_pb2.SavedMetadata.FromString(bounded(folder / "keras_metadata.pb"))
        nodes = [(node.identifier, node.metadata) for node in metadata.nodes]
    else:
        from tensorflow.core.protobuf import saved_model_pb2  # noqa: PLC0415

        saved = saved_model_pb2.SavedModel.FromString(bounded(folder / "saved_model.pb"))
        objects = [graph.object_graph_def.nodes for graph in saved.meta_graphs]
        nodes = [(node.user_object.identifier, node.user_object.metadata) for group in objects for node in group]
    for identifier, text in nodes:
        if identifier in ("_tf_keras_network", "_tf_keras_sequential") and text:
            return _json(text)
    raise BadModelError("a SavedModel without the configuration of a functional or sequential Keras model")


if __name__ == "__main__":
    with failures_in(Path(sys.argv[2])):
        main(Path(sys.argv[1]), Path(sys.argv[2]))
