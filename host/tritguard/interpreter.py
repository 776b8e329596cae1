"""TensorFlow Lite Micro's interpreter, and the process that it runs in.

That process is a fork for each model that is compared (`forks.py`). It imports little, neither records nor another
schema package, as most commands compare few models. What a model's answers mean is the oracle's business (`oracle.py`).
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tritguard.errors import BadModelError

if TYPE_CHECKING:
    from tritguard.predictor import Int8

LEAST = -1  # in place of an arena's size: find the smallest one
NATIVE = "native"  # inputs and outputs are the bytes that the file's tensors hold
_FIRST_ARENA, _LAST_ARENA = 1 << 20, 1 << 28
_ROWS = 2  # axes of samples that are a row of bytes each
_ARENA_STEP = 16  # TFLM's alignment
_FLOAT32, _UINT8, _INT16, _INT8, _RESOURCE = 0, 3, 7, 9, 13  # the schema's TensorType


class Interpreter:
    """A golden model in TFLM's interpreter. It runs one inference at a time, which takes milliseconds.

    Args:
        content: the bytes of the `.tflite` file.
        arena_bytes: size of the tensor arena; by default it is made large enough.
        alternate_bytes: size of the memory that DECODE ops write to instead of the arena, if any.

    Raises:
        BadModelError: TFLM refuses the model, or the arena is too small for it.
    """

    def __init__(self, content: bytes, arena_bytes: int | None = None, alternate_bytes: int = 0) -> None:
        self._interpreter = _started(content, arena_bytes, alternate_bytes)
        self._graph = graph = _graph(content)
        # What the interpreter of a stream is made from: its reset does not run the subgraph that sets the states.
        self._made_from = (content, arena_bytes, alternate_bytes) if keeps_state(graph) else None

    @cached_property
    def sources(self) -> list[Edge]:
        """The inputs."""
        return _edges(self._graph)[0]

    @cached_property
    def sinks(self) -> list[Edge]:
        """The outputs."""
        return _edges(self._graph)[1]

    def takes_streams(self, x: Int8) -> bool:
        """Whether x is int8[n, frames, *input_shape], of a model with state, and not int8[n, *input_shape]."""
        return self._made_from is not None and x.ndim != 1 + self._axes

    def run(self, x: Int8) -> Int8:
        """The outputs int8[n, k] for samples int8[n, *input_shape]; for streams, those after each frame."""
        if self.takes_streams(x):
            return np.stack([self._run_stream(stream, self._run) for stream in x])
        return np.stack([self._run(sample) for sample in x])

    def run_native(self, x: Int8) -> Int8:
        """The bytes of all outputs, as the file has them, for the bytes of all inputs in a row.

        Args:
            x: int8[n, bytes] or, for a model with state, streams int8[n, frames, bytes].
        """
        if self._made_from is not None and x.ndim != _ROWS:
            return np.stack([self._run_stream(stream, self._run_native) for stream in x])
        return np.stack([self._run_native(row) for row in x])

    def print_allocations(self) -> None:
        """Make TFLM print its allocations to C's stderr."""
        self._interpreter.print_allocations()

    @property
    def _axes(self) -> int:
        """How many axes a sample of one frame has, without a batch of one."""
        shape = self.sources[0].shape
        return 1 if len(self.sources) > 1 or not shape else len(shape) - (len(shape) > 1 and shape[0] == 1)

    def _run_stream(self, stream: Int8, run: Callable[[Int8], Int8]) -> Int8:
        assert self._made_from is not None
        self._interpreter = _started(*self._made_from)
        return np.stack([run(frame) for frame in stream])

    def _run_native(self, row: Int8) -> Int8:
        rest = row.tobytes()
        for number in range(self._graph.InputsLength()):
            details = self._interpreter.get_input_details(number)
            shape, dtype = tuple(details["shape"]), np.dtype(details["dtype"])
            size = prod(shape) * dtype.itemsize
            self._interpreter.set_input(np.frombuffer(rest[:size], dtype).reshape(shape), number)
            rest = rest[size:]
        self._interpreter.invoke()
        outputs = (self._interpreter.get_output(number) for number in range(self._graph.OutputsLength()))
        return np.frombuffer(b"".join(np.array(output).tobytes() for output in outputs), np.int8)

    def _run(self, sample: Int8) -> Int8:
        rest = sample.reshape(-1)
        for number, edge in enumerate(self.sources):
            part, rest = rest[: prod(edge.shape)], rest[prod(edge.shape) :]
            self._interpreter.set_input(edge.from_steps(part.reshape(edge.shape)), number)
        self._interpreter.invoke()
        outputs = [np.array(self._interpreter.get_output(number)) for number in range(len(self.sinks))]
        return np.concatenate(
            [edge.to_steps(output).reshape(-1) for edge, output in zip(self.sinks, outputs, strict=True)]
        )


def keeps_state(graph: Any) -> bool:
    """Whether an inference depends on earlier ones: by resource variables, or by tensors that ops keep.

    Args:
        graph: a SubGraph, as a schema package reads it.
    """
    tensors = (graph.Tensors(i) for i in range(graph.TensorsLength()))
    return any(tensor.Type() == _RESOURCE or tensor.IsVariable() for tensor in tensors)


@dataclass(frozen=True)
class Edge:
    """An input or output of the golden model: its type, and the quantization of the tensor the device has instead.

    Conversion is exact in both directions: the float32 value of a step is nearer to that step than to any other, and
    uint8 is int8 shifted by 128.
    """

    shape: tuple[int, ...]
    type: int
    scale: float
    zero_point: int
    wide: bool = False  # whether the steps are int16

    def from_steps(self, q: Int8) -> NDArray[Any]:
        """The golden tensor's values, of its type, for steps of any shape."""
        if self.type == _FLOAT32:
            return np.asarray((q.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale))
        return (q.astype(np.int16) + 128).astype(np.uint8) if self.type == _UINT8 else q

    def to_steps(self, value: NDArray[Any]) -> Int8:
        """The steps, int8 or int16, for values of the golden tensor's type, of any shape."""
        steps: NDArray[Any] = value
        if self.type == _FLOAT32:
            steps = np.round(value / np.float32(self.scale)) + self.zero_point
        if self.type == _UINT8:
            steps = value.astype(np.int16) - 128
        return np.asarray(steps, dtype=np.int16 if self.wide else np.int8)


def _graph(content: bytes) -> Any:
    """The model's graph, by the schema that the interpreter's package has loaded anyway."""
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema  # noqa: PLC0415 - optional

    return schema.Model.GetRootAs(content).Subgraphs(0)


def _edges(graph: Any) -> tuple[list[Edge], list[Edge]]:
    """The inputs and the outputs of a model."""
    ops = [graph.Operators(i) for i in range(graph.OperatorsLength())]

    def after(tensor: int) -> int:
        return next((op.Outputs(0) for op in ops if tensor in _numbers(op.InputsAsNumpy())), tensor)

    def before(tensor: int) -> int:
        return next((op.Inputs(0) for op in ops if tensor in _numbers(op.OutputsAsNumpy())), tensor)

    sources = [_edge(graph, tensor, after(tensor)) for tensor in _numbers(graph.InputsAsNumpy())]
    sinks = [_edge(graph, tensor, before(tensor)) for tensor in _numbers(graph.OutputsAsNumpy())]
    return sources, sinks


def _numbers(values: Any) -> list[int]:
    """A vector's elements; an absent vector, as of the inputs of an op without any, reads as the number 0."""
    return [] if isinstance(values, int) else values.tolist()


def _edge(graph: Any, outer: int, inner: int) -> Edge:
    tensor = graph.Tensors(outer)
    kind, shape = tensor.Type(), tuple(_numbers(tensor.ShapeAsNumpy()))
    own = graph.Tensors(outer if kind in (_INT8, _INT16) else inner)
    quantization, wide = own.Quantization(), own.Type() == _INT16
    if kind in (_INT8, _INT16) and (quantization is None or quantization.ScaleLength() == 0):
        return Edge(shape, kind, 1.0, 0, wide)
    return Edge(shape, kind, float(quantization.Scale(0)), int(quantization.ZeroPoint(0)), wide)


def main(model: str, x: str, scores: str, arena: str, alternate: str, native: str) -> None:
    """Run a model on samples, in a process of its own.

    Args:
        model: the path of the `.tflite` file.
        x: the path of the samples, as `np.save` wrote them.
        scores: the path for the outputs, in the same form.
        arena: the arena's bytes; 0 to make it large enough; `LEAST` to find the smallest and print it with its parts.
        alternate: bytes of the memory that DECODE ops write to.
        native: `NATIVE`, or empty for int8 steps.
    """
    content, arena_bytes, alternate_bytes = Path(model).read_bytes(), int(arena), int(alternate)
    if arena_bytes == LEAST:
        arena_bytes, *parts = _measure(content, alternate_bytes)
        print(arena_bytes, *parts)
    interpreter = Interpreter(content, arena_bytes or None, alternate_bytes)
    run = interpreter.run_native if native == NATIVE else interpreter.run
    np.save(scores, run(np.load(x)))


def _measure(content: bytes, alternate_bytes: int) -> tuple[int, int, int]:
    """The fields of ArenaUse. Redirects this process's stderr, which is the only place where TFLM prints the sizes."""
    interpreter = Interpreter(content, alternate_bytes=alternate_bytes)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), sys.stderr.fileno())
        interpreter.print_allocations()
        log.seek(0)
        said = log.read().decode(errors="replace")
        head, tail = (int(size) for size in re.findall(r"Arena allocation (?:head|tail) (\d+) bytes", said))
        least = head + tail
        while not _runs_in(content, least, alternate_bytes):
            least += _ARENA_STEP
    return least, head, tail


def _runs_in(content: bytes, arena_bytes: int, alternate_bytes: int) -> bool:
    """Whether the model runs in this arena. Tried in a fork, because TFLM may crash when the arena is too small."""
    child = os.fork()
    if child == 0:
        try:
            Interpreter(content, arena_bytes, alternate_bytes)
        except BadModelError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _started(content: bytes, arena_bytes: int | None, alternate_bytes: int) -> Any:
    from tflite_micro import runtime  # noqa: PLC0415 - optional, native

    arena = arena_bytes or _FIRST_ARENA
    while True:
        try:
            return runtime.Interpreter.from_bytes(
                content, arena_size=arena, alt_decompression_memory_size=alternate_bytes
            )
        except Exception as error:  # a damaged file makes TFLM's reader raise exceptions of many kinds
            if arena_bytes or arena >= _LAST_ARENA or not isinstance(error, RuntimeError):
                raise BadModelError(f"TensorFlow Lite Micro refuses the model ({error})") from error
            arena *= 16
