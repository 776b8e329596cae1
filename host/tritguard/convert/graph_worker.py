"""The process that converts the graph of a SavedModel to a full-int8 `.tflite`; see `tritguard.convert.saved_graph`.

`tritguard.convert.apart` runs it as `tritguard.convert.graph_worker MODEL FOLDER`, and nothing else does.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.convert.quantize import to_int8
from tritguard.convert.saved_graph import ANSWERS, INPUTS, MODEL
from tritguard.errors import BadInputError, BadModelError, first_line
from tritguard.foreign.graph import InferenceGraph, inference_graph
from tritguard.foreign.guard import bounded, failures_in, forbid, leave
from tritguard.foreign.stores import CheckpointStore
from tritguard.train.backend import tf


def main(model: Path, folder: Path) -> None:
    """Convert a SavedModel, calibrated on the folder's `samples`, and run its float graph on the folder's `asked`.

    Raises:
        BadModelError: an op, a signature or a variable is not accepted, or the converter refuses the graph.
        BadInputError: `samples` or `asked` do not have the shape that the model takes.
    """
    part = inference_graph(bounded(model / "saved_model.pb"))
    with np.load(folder / INPUTS, allow_pickle=False) as file:
        samples, asked = file["samples"], file["asked"]
    for x in (samples, asked):
        if x.shape[1:] != part.shape:
            raise BadInputError(f"calibration inputs have shape {x.shape[1:]}, but the model takes {part.shape}")
    store = CheckpointStore(model)
    values = {tensor: store.array(key) for tensor, key in part.variables.items()}
    forbid(folder)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x, y = _built(part, values)
        converter = tf.compat.v1.lite.TFLiteConverter.from_session(session, [x], [y])
        (folder / MODEL).write_bytes(to_int8(converter, samples))
        np.save(folder / ANSWERS, np.concatenate([session.run(y, {x: sample[None]}) for sample in asked]))


def _built(part: InferenceGraph, values: dict[str, NDArray[np.float32]]) -> tuple[Any, Any]:
    """Build the graph for one sample in TensorFlow's default graph; return its input and output tensors."""
    x = tf.compat.v1.placeholder(tf.float32, (1, *part.shape), name="input")
    given = {part.input: x} | {tensor: tf.constant(array) for tensor, array in values.items()}
    try:
        return x, tf.graph_util.import_graph_def(part.graph, given, [part.output])[0]
    except Exception as error:  # TensorFlow raises many kinds of errors on inconsistent graphs
        raise BadModelError(f"TensorFlow cannot build its graph ({first_line(error)})") from error


if __name__ == "__main__":
    with failures_in(Path(sys.argv[2])):
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    leave()
