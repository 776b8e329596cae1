"""The oracle: TensorFlow Lite Micro's own interpreter, whose output bytes every other implementation has to match.

`tf.lite` is not used, because its default kernels round once where TFLM rounds twice.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.errors import BadModelError, ToolMissingError, first_line
from tritguard.files import scratch_folder
from tritguard.predictor import Int8, LabelRule, Outputs, Predictor
from tritguard.processes import Limits, run_python

_FIRST_ARENA, _LAST_ARENA = 1 << 20, 1 << 28
_ARENA_STEP = 16  # TFLM's alignment
# Custom ops by the names in files. TFLM prefixes those of its signal library, which follow a rule, with "Signal".
_CUSTOM = {
    "TFLM_DECODE": "DECODE",
    "TFLite_Detection_PostProcess": "DETECTION_POSTPROCESS",
    "CIRCULAR_BUFFER": "CIRCULAR_BUFFER",
    "SignalPCAN": "PCAN",
}
_REGISTRATION = re.compile(rb"_ZN6tflite(?:5micro)?(?:11tflm_signal)?\d+Register_([A-Z0-9_]+)Ev")
_LIMITS = Limits(seconds=1800, cpu_seconds=1800, memory_bytes=2 << 30)


@dataclass(frozen=True)
class ArenaUse:
    """How much of TFLM's tensor arena a model takes, in bytes, with this interpreter's kernels and 64-bit pointers.

    Attributes:
        least: the smallest arena in which the model runs. It exceeds the sum of the other two if TFLM needs temporary
            space while it prepares the model.
        activations: the head of the arena, with activations and scratch; the same on every core.
        structures: the tail of the arena, with tensors, nodes and op data, which hold pointers.
    """

    least: int
    activations: int
    structures: int


def oracle_available() -> bool:
    """Whether the `tflite-micro` package is installed. It has wheels for Linux on x86-64 only."""
    return find_spec("tflite_micro") is not None


class Oracle(Predictor):
    """A golden model in TFLM's interpreter. It runs one inference at a time, which takes milliseconds.

    A model with several inputs takes int8[n, bytes of all inputs in one row]; the scores of a model with several
    outputs hold all of them in one row. Inputs and outputs of other types than int8 are converted, exactly. There are
    no logits and no ticks.

    Args:
        content: the bytes of the `.tflite` file.
        arena_bytes: size of the tensor arena; by default it is made large enough.
        alternate_bytes: size of the memory that DECODE ops write to instead of the arena, if any.

    Raises:
        ToolMissingError: the package `tflite-micro` is not installed.
        BadModelError: TFLM refuses the model, or the arena is too small for it.
    """

    def __init__(self, content: bytes, *, arena_bytes: int | None = None, alternate_bytes: int = 0) -> None:
        if not oracle_available():
            raise ToolMissingError(
                "the oracle is not installed", fix="pip install 'tritguard[oracle]' (Linux on x86-64)"
            )
        self._interpreter = _interpreter(content, arena_bytes, alternate_bytes)
        self._sources, self._sinks = _edges(content)

    @override
    def predict(self, x: Int8) -> Outputs:
        return Outputs(np.stack([self._run(sample) for sample in x]), threshold=self.label_rule.threshold_steps)

    @property
    def label_rule(self) -> LabelRule:
        """How the class follows from the outputs; that of several outputs is not known."""
        if len(self._sinks) > 1:
            return LabelRule(kind="none", classes=0)
        return LabelRule.of(self._sinks[0].shape, self._sinks[0].scale, self._sinks[0].zero_point)

    def print_allocations(self) -> None:
        """Make TFLM print its allocations to C's stderr."""
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
    """An input or output of the golden model: its type, and the quantization of the int8 tensor the device has instead.

    Conversion is exact in both directions: the float32 value of a step is nearer to that step than to any other, and
    uint8 is int8 shifted by 128.
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
    """The inputs and the outputs of a model."""
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
    quantization = graph.Tensors(outer if kind == tflite.TensorType.INT8 else inner).Quantization()
    if kind == tflite.TensorType.INT8 and (quantization is None or quantization.ScaleLength() == 0):
        return _Edge(shape, kind, 1.0, 0)
    return _Edge(shape, kind, float(quantization.Scale(0)), int(quantization.ZeroPoint(0)))


def probes(shape: tuple[int, ...], count: int) -> Int8:
    """int8[count, *shape] on which implementations are compared: both extremes, then noise; the same on every call."""
    noise = np.random.default_rng(0).integers(-128, 128, (count - 2, *shape), dtype=np.int8)
    return np.concatenate([np.full((1, *shape), -128, np.int8), np.full((1, *shape), 127, np.int8), noise])


@cache
def registered_ops() -> frozenset[str]:
    """The names under which the installed interpreter registers ops; empty if it is not installed.

    They are in its symbols, since its functions Register_NAME are exported.
    """
    package = find_spec("tflite_micro")
    places = [] if package is None else package.submodule_search_locations or []
    libraries = [library for place in places for library in Path(place).rglob("_runtime*.so")]
    return frozenset(name.decode() for library in libraries for name in _REGISTRATION.findall(library.read_bytes()))


def registered_name(op: str) -> str:
    """An op's name in TFLM's registrations, from that in the schema or, of a custom op, from "CUSTOM " and its code.

    It is empty for custom ops that are not TFLM's, whose names may be any text.
    """
    kind, _, custom = op.partition(" ")
    if kind != "CUSTOM":
        return op
    if re.fullmatch("Signal[A-Za-z0-9]+", custom) and custom not in _CUSTOM:
        return re.sub("(?<!^)(?=[A-Z])", "_", custom.removeprefix("Signal")).upper()
    return _CUSTOM.get(custom, "")


_LEAST = -1  # in place of an arena's size: find the smallest one


def predict_apart(content: bytes, x: Int8, *, arena_bytes: int | None = None, alternate_bytes: int = 0) -> Int8:
    """The oracle's scores int8[n, k] for x, int8[n, *input_shape], computed in a separate process.

    TFLM aborts on some models and writes its complaints to stderr; neither should reach the caller. `Oracle` explains
    the sizes.

    Raises:
        BadModelError: TFLM refuses the model, aborts on it, or takes more than half an hour or 2 GiB.
    """
    return _apart(content, x, arena_bytes or 0, alternate_bytes)[0]


def measure_apart(content: bytes, x: Int8, *, alternate_bytes: int = 0) -> tuple[Int8, ArenaUse]:
    """The scores as from `predict_apart`, in the smallest arena in which the model runs, and the use of that arena."""
    scores, printed = _apart(content, x, _LEAST, alternate_bytes)
    least, activations, structures = map(int, printed.split())
    return scores, ArenaUse(least, activations, structures)


def _apart(content: bytes, x: Int8, arena_bytes: int, alternate_bytes: int) -> tuple[Int8, str]:
    """The scores, and what the child process printed."""
    with scratch_folder() as folder:
        model, inputs, scores = (folder / name for name in ("model.tflite", "x.npy", "scores.npy"))
        model.write_bytes(content)
        np.save(inputs, x)
        arguments = map(str, (model, inputs, scores, arena_bytes, alternate_bytes))
        try:
            done = run_python("tritguard.oracle", *arguments, folder=folder, limits=_LIMITS, collect=False)
        except subprocess.TimeoutExpired as error:
            raise BadModelError(f"TensorFlow Lite Micro does not finish within {_LIMITS.seconds} s") from error
        if done.returncode != 0 or not scores.is_file():
            said = done.stderr.decode(errors="replace").splitlines()
            first = next((line for line in said if line.strip()), f"exit status {done.returncode}")
            raise BadModelError(f"TensorFlow Lite Micro refuses the model ({first.strip()})")
        return np.asarray(np.load(scores), dtype=np.int8), done.stdout.decode()


def _child(model: str, x: str, scores: str, arena: str, alternate: str) -> None:
    content, arena_bytes, alternate_bytes = Path(model).read_bytes(), int(arena), int(alternate)
    if arena_bytes == _LEAST:
        arena_bytes, *parts = _measure(content, alternate_bytes)
        print(arena_bytes, *parts)
    oracle = Oracle(content, arena_bytes=arena_bytes or None, alternate_bytes=alternate_bytes)
    np.save(scores, oracle.predict(np.load(x)).scores)


def _measure(content: bytes, alternate_bytes: int) -> tuple[int, int, int]:
    """The fields of ArenaUse. Redirects this process's stderr, which is the only place where TFLM prints the sizes."""
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
    """Whether the model runs in this arena. Tried in a fork, because TFLM may crash when the arena is too small."""
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
        except Exception as error:  # a damaged file makes TFLM's reader raise exceptions of many kinds
            if arena_bytes or arena >= _LAST_ARENA or not isinstance(error, RuntimeError):
                raise BadModelError(f"TensorFlow Lite Micro refuses the model ({error})") from error
            arena *= 16


if __name__ == "__main__":
    try:
        _child(*sys.argv[1:])
    except Exception as problem:  # the process that started this one quotes one line
        sys.exit(f"{type(problem).__name__}: {first_line(problem)}")
