"""From a model to arrays for TensorFlow Lite Micro."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tritguard.api.source import golden, title
from tritguard.data import read_samples, to_input_bytes
from tritguard.emit.tflm import Arrays, edges, write_arrays
from tritguard.errors import BadInputError, about
from tritguard.predictor import Int8
from tritguard.progress import Stages, silent
from tritguard.train.config import CALIBRATION

_REAL_INPUTS = 32


def convert_to_arrays(
    model: str | Path,
    out: str | Path,
    *,
    calibration: str | Path | None = None,
    name: str | None = None,
    uncompressed: bool = False,
    has_decode: bool = False,
    compat: bool = False,
    stages: Stages = silent,
) -> Arrays:
    """Turn a model into C arrays for TensorFlow Lite Micro, each tried in its interpreter.

    Args:
        model: see `convert`.
        out: the folder to write.
        calibration: an `.npz` with real inputs: a float model takes its int8 ranges from them, and the arrays are
            tried on them. By default a training's own are used, where there are some.
        name: what the arrays are named after; by default the model's file.
        uncompressed: leave ternary weights as int8.
        has_decode: your firmware has DECODE's code in any case: compress weights wherever the array gets smaller.
        compat: for builds of TensorFlow Lite Micro without per-channel dense layers and DECODE.
        stages: shows how far the work is.

    Raises:
        BadInputError, BadModelError, MismatchError: see `golden` and `write_arrays`.
    """
    source = Path(model)
    inputs = None if calibration is None else Path(calibration)
    converting = stages("Converting")
    converting(0, 1)
    content = golden(source, inputs)
    converting(1, 1)
    if inputs is None and (source / CALIBRATION).is_file():
        inputs = source / CALIBRATION
    with about(source):
        return write_arrays(
            content,
            Path(out),
            name=title(source, name),
            real=None if inputs is None else _real_inputs(content, inputs),
            uncompressed=uncompressed,
            has_decode=has_decode,
            compat=compat,
            progress=stages("Trying in TensorFlow Lite Micro"),
        )


def _real_inputs(content: bytes, samples: Path) -> Int8:
    """At most 32 of a file's samples, evenly spaced, on the model's input grid: int8[n, *input_shape]."""
    x = read_samples(samples)
    source, _ = edges(content)
    if source.scale is None or source.zero_point is None or source.golden_type not in ("int8", "uint8", "float32"):
        raise BadInputError(
            f"arrays are tried on real inputs where the model takes int8, this one takes {source.golden_type}",
            fix="leave --calibration out",
        )
    chosen = x[np.linspace(0, len(x) - 1, min(_REAL_INPUTS, len(x))).astype(int)]
    return to_input_bytes(chosen, source.scale, source.zero_point)
