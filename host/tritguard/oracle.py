"""The oracle: TensorFlow Lite Micro's own interpreter, whose bytes every other implementation has to give.

`tf.lite` is not used: its default kernels round once where TFLM rounds twice.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from tritguard.errors import BadModelError, ToolMissingError
from tritguard.predictor import Int8, Outputs

_FIRST_ARENA, _LAST_ARENA = 1 << 20, 1 << 28
_ARENA_STEP = 16  # TFLM's alignment


@dataclass(frozen=True)
class ArenaUse:
    """What a model takes of TFLM's tensor arena, in bytes, with this interpreter's kernels and 64-bit pointers.

    Attributes:
        least: the smallest arena the model runs in. More than the other two together where TFLM needs room for a
            moment while it prepares.
        activations: the arena's head: activations and scratch, the same on every core.
        structures: its tail: tensors, nodes and op data, which hold pointers.
    """

    least: int
    activations: int
    structures: int


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
        self._sources, self._sinks = _edges(content)

    def predict(self, x: Int8) -> Outputs:
        """Run int8[n, *input_shape]; scores only. Edges of other types are converted, exactly.

        A model with several inputs takes int8[n, their bytes in one row]; of several outputs the row holds all.
        """
        return Outputs(np.stack([self._run(sample) for sample in x]))

    def print_allocations(self) -> None:
        """Have TFLM write what it allocated to C's stderr."""
        self._interpreter.print_allocations()

    def _run(self, sample: Int8) -> Int8:
        rest = sample.reshape(-1)
        for number, edge in enumerate(self._sources):
            part, rest = rest[: prod(edge.shape)], rest[prod(edge.shape) :]
            self._interpreter.set_input(edge.from_int8(part.reshape(edge.shape)), number)
        self._interpreter.invoke()
        outputs = [np.array(self._interpreter.get_output(number)) for number in range(len(self._sinks))]
        return np.concatenate(
            [edge.to_int8(output).reshape(-1) for edge, output in zip(self._sinks, outputs, strict=True)]
        )


@dataclass(frozen=True)
class _Edge:
    """The golden model's input or output: its type, and the int8 steps inside that the device sees instead.

    Both ways are exact: a float32 of a step is nearer to it than to any other, and uint8 is int8 moved by 128.
    """

    shape: tuple[int, ...]
    type: int
    scale: float
    zero_point: int

    def from_int8(self, q: Int8) -> NDArray[Any]:
        if self.type == tflite.TensorType.FLOAT32:
            return np.asarray((q.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale))
        return (q.astype(np.int16) + 128).astype(np.uint8) if self.type == tflite.TensorType.UINT8 else q

    def to_int8(self, value: NDArray[Any]) -> Int8:
        if self.type == tflite.TensorType.FLOAT32:
            return np.asarray(np.round(value / np.float32(self.scale)) + self.zero_point, dtype=np.int8)
        if self.type == tflite.TensorType.UINT8:
            return (value.astype(np.int16) - 128).astype(np.int8)
        return np.asarray(value, dtype=np.int8)


def _edges(content: bytes) -> tuple[list[_Edge], list[_Edge]]:
    """Inputs and outputs."""
    graph = tflite.Model.GetRootAs(content).Subgraphs(0)
    ops = [graph.Operators(i) for i in range(graph.OperatorsLength())]

    def after(tensor: int) -> int:
        return next((op.Outputs(0) for op in ops if tensor in op.InputsAsNumpy()), tensor)

    def before(tensor: int) -> int:
        return next((op.Inputs(0) for op in ops if tensor in op.OutputsAsNumpy()), tensor)

    sources = [_edge(graph, tensor, after(tensor)) for tensor in graph.InputsAsNumpy().tolist()]
    sinks = [_edge(graph, tensor, before(tensor)) for tensor in graph.OutputsAsNumpy().tolist()]
    return sources, sinks


def _edge(graph: Any, outer: int, inner: int) -> _Edge:
    tensor = graph.Tensors(outer)
    kind, shape = tensor.Type(), tuple(tensor.ShapeAsNumpy().tolist())
    if kind == tflite.TensorType.INT8:
        return _Edge(shape, kind, 1.0, 0)
    quantization = graph.Tensors(inner).Quantization()
    return _Edge(shape, kind, float(quantization.Scale(0)), int(quantization.ZeroPoint(0)))


def probes(shape: tuple[int, ...], count: int) -> Int8:
    """int8[count, *shape] to compare implementations on: both extremes and noise, the same at every call."""
    noise = np.random.default_rng(0).integers(-128, 128, (count - 2, *shape), dtype=np.int8)
    return np.concatenate([np.full((1, *shape), -128, np.int8), np.full((1, *shape), 127, np.int8), noise])


_LEAST = -1  # in place of an arena's size


def predict_apart(content: bytes, x: Int8, *, arena_bytes: int | None = None, alternate_bytes: int = 0) -> Int8:
    """The oracle's int8[n, k] scores of int8[n, *input_shape], from a process of its own.

    TFLM aborts on some models, and writes to stderr what it dislikes: neither should reach the caller.
    See `Oracle` for the sizes.

    Raises:
        BadModelError: TFLM refuses the model or aborts on it.
    """
    return _apart(content, x, arena_bytes or 0, alternate_bytes)[0]


def measure_apart(content: bytes, x: Int8, *, alternate_bytes: int = 0) -> tuple[Int8, ArenaUse]:
    """What `predict_apart` gives in the smallest arena the model runs in, and that arena."""
    scores, printed = _apart(content, x, _LEAST, alternate_bytes)
    least, activations, structures = map(int, printed.split())
    return scores, ArenaUse(least, activations, structures)


_CHILD = "import sys; from tritguard.oracle import _child; _child(*sys.argv[1:])"


def _apart(content: bytes, x: Int8, arena_bytes: int, alternate_bytes: int) -> tuple[Int8, str]:
    """Scores, and what the child printed."""
    with tempfile.TemporaryDirectory() as folder:
        model, inputs, scores = (Path(folder) / name for name in ("model.tflite", "x.npy", "scores.npy"))
        model.write_bytes(content)
        np.save(inputs, x)
        command = [sys.executable, "-c", _CHILD, *map(str, (model, inputs, scores, arena_bytes, alternate_bytes))]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0 or not scores.is_file():
            said = next((line for line in done.stderr.splitlines() if line.strip()), f"exit status {done.returncode}")
            raise BadModelError(f"TensorFlow Lite Micro refuses the model ({said.strip()})")
        return np.asarray(np.load(scores), dtype=np.int8), done.stdout


def _child(model: str, x: str, scores: str, arena: str, alternate: str) -> None:
    content, arena_bytes, alternate_bytes = Path(model).read_bytes(), int(arena), int(alternate)
    if arena_bytes == _LEAST:
        arena_bytes, *parts = _measure(content, alternate_bytes)
        print(arena_bytes, *parts)
    oracle = Oracle(content, arena_bytes=arena_bytes or None, alternate_bytes=alternate_bytes)
    np.save(scores, oracle.predict(np.load(x)).scores)


def _measure(content: bytes, alternate_bytes: int) -> tuple[int, int, int]:
    """The fields of ArenaUse. Takes over this process's stderr: TFLM tells sizes there and nowhere else."""
    oracle = Oracle(content, alternate_bytes=alternate_bytes)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), sys.stderr.fileno())
        oracle.print_allocations()
        log.seek(0)
        said = log.read().decode(errors="replace")
        head, tail = (int(size) for size in re.findall(r"Arena allocation (?:head|tail) (\d+) bytes", said))
        least = head + tail
        while not _runs_in(content, least, alternate_bytes):
            least += _ARENA_STEP
    return least, head, tail


def _runs_in(content: bytes, arena_bytes: int, alternate_bytes: int) -> bool:
    """Tried in a fork: TFLM may crash where it lacks room."""
    child = os.fork()
    if child == 0:
        try:
            Oracle(content, arena_bytes=arena_bytes, alternate_bytes=alternate_bytes)
        except BadModelError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


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
