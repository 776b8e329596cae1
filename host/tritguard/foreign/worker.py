"""The reading process: it turns a file of unknown origin into a description and arrays, or says why it cannot.

`tritguard.convert.apart` runs it as `tritguard.foreign.worker MODEL FOLDER`, and nothing else does.
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

# QKeras needs Keras 2, and TensorFlow chooses the version of Keras when it is imported.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import numpy as np

from tritguard.errors import BadModelError
from tritguard.foreign.configuration import Config, describe, needs_qkeras
from tritguard.foreign.description import DESCRIPTION, WEIGHTS
from tritguard.foreign.guard import bounded, failures_in, forbid, leave
from tritguard.foreign.quantizers import import_qkeras
from tritguard.foreign.stores import CheckpointStore, Hdf5Store, KerasZipStore, Store
from tritguard.heavy_imports import heavy_imports

_MAX_CONFIG_BYTES = 16 << 20
_NO_CONFIGURATION = "save the whole model, not its weights alone"


def main(model: Path, folder: Path) -> None:
    """Read a model, and write its description and weights to a folder.

    Raises:
        BadModelError: the file is broken, or holds anything that is not on the allow-lists.
        ToolMissingError: the model needs QKeras, which is not installed.
    """
    with heavy_imports(freeze=False):
        config, store = _open(model)
        if needs_qkeras(config):  # before `forbid`, because its imports do things that are refused after it
            import_qkeras()
    forbid(folder)
    description, weights = describe(config, store)
    arrays = {
        f"{index}_{name}": values
        for index, layer in enumerate(description.layers)
        for name, values in weights.get(layer.name, {}).items()
    }
    np.savez(folder / WEIGHTS, **arrays)  # type: ignore[arg-type] # mypy matches them with allow_pickle
    (folder / DESCRIPTION).write_text(description.model_dump_json())


def _open(path: Path) -> tuple[Config, Store]:
    """The configuration and the weights of a model. The content of the file tells its format, not its name."""
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
        raise BadModelError("its configuration is not a text, or is too long")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadModelError("its configuration is not JSON") from error
    if not isinstance(config, dict):
        raise BadModelError("its configuration is not that of a model")
    return config


def _saved_model(folder: Path) -> Config:
    """The configuration in a SavedModel of Keras: in a separate file, or before TensorFlow 2.5 in the graph's file."""
    if not (folder / "saved_model.pb").is_file():
        raise BadModelError("the folder has no saved_model.pb")
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
    leave()
