"""The reading process: a file of unknown origin becomes a description and arrays, or a reason why not.

Called as `python -m tritguard.foreign.worker MODEL FOLDER`, and by nothing else.
"""

from __future__ import annotations

import contextlib
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

from tritguard.errors import BadModelError, TritguardError
from tritguard.foreign.configuration import Config, describe, needs_qkeras
from tritguard.foreign.description import DESCRIPTION, FAILURE, WEIGHTS, Failure
from tritguard.foreign.quantizers import import_qkeras
from tritguard.foreign.stores import CheckpointStore, Hdf5Store, KerasZipStore, Store

# Nothing that reads a model needs these; whatever gets as far as to try ends the process.
FORBIDDEN = {
    "ctypes.call_function",
    "ftplib.connect",
    "http.client.connect",
    "marshal.load",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "pickle.find_class",
    "shutil.rmtree",
    "socket.bind",
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
    "urllib.Request",
}
_MAX_CONFIG_BYTES = 16 << 20
_MAX_FILE_BYTES = 1 << 30
_CPU_SECONDS = 300
_NO_CONFIGURATION = "save the whole model, not its weights alone"


def main(model: Path, folder: Path) -> None:
    """Read a model and write what it is, or why it cannot be taken, into a folder."""
    _limit()
    try:
        config, store = _open(model)
        if needs_qkeras(config):  # now: its imports do things that are refused from here on
            import_qkeras()
        sys.addaudithook(_refuse)
        description, weights = describe(config, store)
        arrays = {
            f"{index}_{name}": values
            for index, layer in enumerate(description.layers)
            for name, values in weights.get(layer.name, {}).items()
        }
        np.savez(folder / WEIGHTS, **arrays)  # type: ignore[arg-type] # its parameter allow_pickle is no array
        (folder / DESCRIPTION).write_text(description.model_dump_json())
    except TritguardError as error:
        kind = "missing" if error.exit_code == 3 else "model"
        failure = Failure(what=error.what, where=error.where, fix=error.fix)
        (folder / FAILURE).write_text(json.dumps({"kind": kind, **failure.model_dump()}))


def _limit() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on Windows; or lower limits are set already
        import resource  # noqa: PLC0415 - POSIX only

        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE_BYTES, _MAX_FILE_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _refuse(event: str, _: tuple[object, ...]) -> None:
    if event in FORBIDDEN:
        os.write(2, f"refused: {event}\n".encode())
        os._exit(70)


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

        metadata = saved_metadata_pb2.SavedMetadata.FromString(_bounded(folder / "keras_metadata.pb"))
        nodes = [(node.identifier, node.metadata) for node in metadata.nodes]
    else:
        from tensorflow.core.protobuf import saved_model_pb2  # noqa: PLC0415

        saved = saved_model_pb2.SavedModel.FromString(_bounded(folder / "saved_model.pb"))
        objects = [graph.object_graph_def.nodes for graph in saved.meta_graphs]
        nodes = [(node.user_object.identifier, node.user_object.metadata) for group in objects for node in group]
    for identifier, text in nodes:
        if identifier in ("_tf_keras_network", "_tf_keras_sequential", "_tf_keras_model") and text:
            return _json(text)
    raise BadModelError(
        "a SavedModel without a Keras configuration: a graph alone",
        fix="convert it with TensorFlow Lite's full-integer quantization and give the .tflite, or save the Keras model",
    )


def _bounded(path: Path) -> bytes:
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise BadModelError(f"{path.name} is larger than a gigabyte")
    return path.read_bytes()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except Exception as error:  # a broken file meets h5py, zipfile or protobuf with errors of many kinds
        reason = str(error).strip().partition("\n")[0][:200]
        content = {"kind": "model", "what": f"cannot be read ({type(error).__name__}: {reason})"}
        (Path(sys.argv[2]) / FAILURE).write_text(json.dumps(content))
