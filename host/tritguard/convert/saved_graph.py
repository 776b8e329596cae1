"""Converts SavedModels that hold only a graph: a separate process checks it against an allow-list and converts it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tritguard.convert.apart import run_apart
from tritguard.files import scratch_folder
from tritguard.foreign.guard import MAX_FILE_BYTES

Float32 = NDArray[np.float32]

# The files in the worker's folder: its inputs, the arrays `samples` and `asked`, and its results.
INPUTS, MODEL, ANSWERS = "inputs.npz", "model.tflite", "answers.npy"

_GRAPH = "saved_model.pb"
_KERAS_METADATA = "keras_metadata.pb"
_KERAS_MARKS = (
    b"_tf_keras_network",
    b"_tf_keras_sequential",
)  # in files of models whose configuration lists their layers


def is_graph_alone(path: Path) -> bool:
    """Whether a model is a SavedModel without the configuration of a functional or sequential Keras model.

    The file is searched, not parsed, because this only decides which of the reading processes is run.
    """
    if not (path / _GRAPH).is_file():
        return False
    told_in = next(file for file in (path / _KERAS_METADATA, path / _GRAPH) if file.is_file())
    with told_in.open("rb") as stream:
        content = stream.read(MAX_FILE_BYTES)
    return not any(mark in content for mark in _KERAS_MARKS)


def convert_graph(path: Path, samples: Float32, asked: Float32) -> tuple[bytes, Float32]:
    """Convert a SavedModel's serving signature to a full-int8 `.tflite` with a batch of 1.

    Args:
        path: the SavedModel's folder.
        samples: float32[n, *input_shape], real inputs that set the int8 ranges.
        asked: float32[m, *input_shape], inputs on which the float graph is run.

    Returns:
        The content of the `.tflite`, and the outputs of the float graph for `asked`, float32[m, *output_shape].

    Raises:
        BadModelError: the model holds an op that is not on the lists of `tritguard.foreign.graph`, or cannot be
            converted.
        BadInputError: the inputs do not have the shape that the model takes.
    """
    with scratch_folder() as folder:
        np.savez(folder / INPUTS, samples=samples, asked=asked)
        run_apart("tritguard.convert.graph_worker", path, folder)
        return (folder / MODEL).read_bytes(), np.load(folder / ANSWERS, allow_pickle=False)
