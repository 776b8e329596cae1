"""The oracle: TensorFlow Lite Micro's own interpreter, whose bytes every other implementation has to give.

`tf.lite` is not used: its default kernels round once where TFLM rounds twice.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tritguard.errors import BadModelError, ToolMissingError
from tritguard.predictor import Int8, Outputs

_FIRST_ARENA, _LAST_ARENA = 1 << 20, 1 << 28


def oracle_available() -> bool:
    """Whether the `tflite-micro` package is installed; its wheels exist for Linux on x86-64 only."""
    return find_spec("tflite_micro") is not None


class Oracle:
    """A golden model in TFLM's interpreter, one inference at a time (milliseconds each).

    Args:
        content: the `.tflite` file's bytes.

    Raises:
        ToolMissingError: the package is not installed.
        BadModelError: TFLM refuses the model.
    """

    def __init__(self, content: bytes) -> None:
        if not oracle_available():
            raise ToolMissingError(
                "the oracle is not installed", fix="pip install 'tritguard[oracle]' (Linux on x86-64)"
            )
        self._interpreter = _interpreter(content)

    def predict(self, x: Int8) -> Outputs:
        """Run int8[n, *input_shape]; scores only."""
        return Outputs(np.stack([self._run(sample) for sample in x]))

    def _run(self, sample: Int8) -> Int8:
        self._interpreter.set_input(sample[None], 0)
        self._interpreter.invoke()
        return np.array(self._interpreter.get_output(0), dtype=np.int8).reshape(-1)


_CHILD = """
import sys
from pathlib import Path
import numpy as np
from tritguard.oracle import Oracle
np.save(sys.argv[3], Oracle(Path(sys.argv[1]).read_bytes()).predict(np.load(sys.argv[2])).scores)
"""


def predict_apart(content: bytes, x: Int8) -> Int8:
    """The oracle's int8[n, k] scores of int8[n, *input_shape], from a process of its own.

    TFLM aborts on some models, and writes to stderr what it dislikes: neither should reach the caller.

    Raises:
        BadModelError: TFLM refuses the model or aborts on it.
    """
    with tempfile.TemporaryDirectory() as folder:
        model, inputs, scores = (Path(folder) / name for name in ("model.tflite", "x.npy", "scores.npy"))
        model.write_bytes(content)
        np.save(inputs, x)
        command = [sys.executable, "-c", _CHILD, str(model), str(inputs), str(scores)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0 or not scores.is_file():
            said = next((line for line in done.stderr.splitlines() if line.strip()), f"exit status {done.returncode}")
            raise BadModelError(f"TensorFlow Lite Micro refuses the model ({said.strip()})")
        return np.asarray(np.load(scores), dtype=np.int8)


def _interpreter(content: bytes) -> Any:
    from tflite_micro import runtime  # noqa: PLC0415 - optional, native

    arena = _FIRST_ARENA
    while True:
        try:
            return runtime.Interpreter.from_bytes(content, arena_size=arena)
        except Exception as error:  # its own reader raises whatever a damaged file makes it raise
            if arena >= _LAST_ARENA or not isinstance(error, RuntimeError):
                raise BadModelError(f"TensorFlow Lite Micro refuses the model ({error})") from error
            arena *= 16
