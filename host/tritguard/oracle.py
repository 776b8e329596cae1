"""The oracle: TensorFlow Lite Micro's own interpreter, whose bytes every other implementation has to give.

`tf.lite` is not used: its default kernels round once where TFLM rounds twice.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tritguard.errors import BadModelError, ToolMissingError
from tritguard.predictor import Int8, Outputs

_FIRST_ARENA, _LAST_ARENA = 1 << 20, 1 << 28


@dataclass(frozen=True)
class ArenaUse:
    """What a model takes of TFLM's tensor arena, in bytes, with this interpreter's kernels and 64-bit pointers.

    Attributes:
        activations: the arena's head: activations and scratch, the same on every core.
        structures: its tail: tensors, nodes and op data, which hold pointers.
    """

    activations: int
    structures: int

    @property
    def total(self) -> int:
        """The smallest arena the model runs in."""
        return self.activations + self.structures


def oracle_available() -> bool:
    """Whether the `tflite-micro` package is installed; its wheels exist for Linux on x86-64 only."""
    return find_spec("tflite_micro") is not None


class Oracle:
    """A golden model in TFLM's interpreter, one inference at a time (milliseconds each).

    Args:
        content: the `.tflite` file's bytes.
        arena_bytes: size of the tensor arena; by default one that is large enough.
        alternate_bytes: size of the memory DECODE ops write to instead of the arena, if any.

    Raises:
        ToolMissingError: the package is not installed.
        BadModelError: TFLM refuses the model, or the arena is too small for it.
    """

    def __init__(self, content: bytes, *, arena_bytes: int | None = None, alternate_bytes: int = 0) -> None:
        if not oracle_available():
            raise ToolMissingError(
                "the oracle is not installed", fix="pip install 'tritguard[oracle]' (Linux on x86-64)"
            )
        self._interpreter = _interpreter(content, arena_bytes, alternate_bytes)

    def predict(self, x: Int8) -> Outputs:
        """Run int8[n, *input_shape]; scores only."""
        return Outputs(np.stack([self._run(sample) for sample in x]))

    def print_allocations(self) -> None:
        """Have TFLM write what it allocated to C's stderr."""
        self._interpreter.print_allocations()

    def _run(self, sample: Int8) -> Int8:
        self._interpreter.set_input(sample[None], 0)
        self._interpreter.invoke()
        return np.array(self._interpreter.get_output(0), dtype=np.int8).reshape(-1)


def probes(shape: tuple[int, ...], count: int) -> Int8:
    """int8[count, *shape] to compare implementations on: both extremes and noise, the same at every call."""
    noise = np.random.default_rng(0).integers(-128, 128, (count - 2, *shape), dtype=np.int8)
    return np.concatenate([np.full((1, *shape), -128, np.int8), np.full((1, *shape), 127, np.int8), noise])


_PREDICT = """
import sys
from pathlib import Path
import numpy as np
from tritguard.oracle import Oracle
model, x, scores, arena, alternate = sys.argv[1:]
oracle = Oracle(Path(model).read_bytes(), arena_bytes=int(arena) or None, alternate_bytes=int(alternate))
np.save(scores, oracle.predict(np.load(x)).scores)
"""


def predict_apart(content: bytes, x: Int8, *, arena_bytes: int | None = None, alternate_bytes: int = 0) -> Int8:
    """The oracle's int8[n, k] scores of int8[n, *input_shape], from a process of its own.

    TFLM aborts on some models, and writes to stderr what it dislikes: neither should reach the caller.
    See `Oracle` for the sizes.

    Raises:
        BadModelError: TFLM refuses the model or aborts on it.
    """
    with tempfile.TemporaryDirectory() as folder:
        model, inputs, scores = (Path(folder) / name for name in ("model.tflite", "x.npy", "scores.npy"))
        model.write_bytes(content)
        np.save(inputs, x)
        said = _apart(_PREDICT, model, inputs, scores, arena_bytes or 0, alternate_bytes)
        if not scores.is_file():
            raise _refusal(said)
        return np.asarray(np.load(scores), dtype=np.int8)


_MEASURE = """
import sys
from pathlib import Path
from tritguard.oracle import Oracle
Oracle(Path(sys.argv[1]).read_bytes(), alternate_bytes=int(sys.argv[2])).print_allocations()
"""


def arena_apart(content: bytes, *, alternate_bytes: int = 0) -> ArenaUse:
    """Measure a model's arena in a process of its own: TFLM prints it to stderr and nowhere else.

    Raises:
        BadModelError: TFLM refuses the model or aborts on it.
    """
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.tflite"
        model.write_bytes(content)
        said = _apart(_MEASURE, model, alternate_bytes)
    found = {part: int(size) for part, size in re.findall(r"Arena allocation (head|tail) (\d+) bytes", said)}
    if found.keys() != {"head", "tail"}:
        raise _refusal(said)
    return ArenaUse(activations=found["head"], structures=found["tail"])


def _apart(script: str, *arguments: object) -> str:
    """Run a script in a process of its own; what it wrote to stderr."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise _refusal(done.stderr or f"exit status {done.returncode}")
    return done.stderr


def _refusal(said: str) -> BadModelError:
    first = next((line.strip() for line in said.splitlines() if line.strip()), "without a word")
    return BadModelError(f"TensorFlow Lite Micro refuses the model ({first})")


def _interpreter(content: bytes, arena_bytes: int | None, alternate_bytes: int) -> Any:
    from tflite_micro import runtime  # noqa: PLC0415 - optional, native

    arena = arena_bytes or _FIRST_ARENA
    while True:
        try:
            return runtime.Interpreter.from_bytes(
                content, arena_size=arena, alt_decompression_memory_size=alternate_bytes
            )
        except Exception as error:  # its own reader raises whatever a damaged file makes it raise
            if arena_bytes or arena >= _LAST_ARENA or not isinstance(error, RuntimeError):
                raise BadModelError(f"TensorFlow Lite Micro refuses the model ({error})") from error
            arena *= 16
