"""The oracle: TensorFlow Lite Micro's own interpreter, whose bytes every other implementation has to give.

`tf.lite` is not used: its default kernels round once where TFLM rounds twice.
"""

from __future__ import annotations

from importlib.util import find_spec
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
