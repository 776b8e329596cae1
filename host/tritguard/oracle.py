"""The oracle: TensorFlow Lite Micro's own interpreter, whose output bytes every other implementation has to match.

`tf.lite` is not used, because its default kernels round once where TFLM rounds twice.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import tflite
from flatbuffers import number_types
from typing_extensions import override

from tritguard import interpreter
from tritguard.errors import BadModelError, ToolMissingError
from tritguard.files import scratch_folder
from tritguard.forks import Forks
from tritguard.interpreter import Interpreter
from tritguard.predictor import Int8, LabelRule, Outputs, Predictor
from tritguard.processes import Limits

# Custom ops by the names in files. TFLM prefixes those of its signal library, which follow a rule, with "Signal".
_CUSTOM = {
    "TFLM_DECODE": "DECODE",
    "TFLite_Detection_PostProcess": "DETECTION_POSTPROCESS",
    "CIRCULAR_BUFFER": "CIRCULAR_BUFFER",
    "SignalPCAN": "PCAN",
}
_BUILTIN_CODE = 10  # where an OperatorCode's vtable holds the offset of its wider field
_REGISTRATION = re.compile(rb"_ZN6tflite(?:5micro)?(?:11tflm_signal)?\d+Register_([A-Z0-9_]+)Ev")
_OF_ARENA, _CLOSING = re.compile("Failed to (resize|allocate)"), re.compile(r"Node .* failed|\w+Error: ")
_LIMITS = Limits(seconds=1800, cpu_seconds=1800, memory_bytes=2 << 30)
_FORKS = Forks("tritguard.interpreter", "tflite_micro", limits=_LIMITS)


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
    outputs hold all of them in one row. A model with state takes streams, int8[n, frames, ...]; one whose variables do
    not outlive an inference takes samples as others do. Inputs and outputs of other types than int8 are converted,
    exactly. There are no logits and no ticks.

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
        self._interpreter = Interpreter(content, arena_bytes, alternate_bytes)

    @override
    def predict(self, x: Int8) -> Outputs:
        threshold, outputs = self.label_rule.threshold_steps, self._interpreter.run(x)
        if self._interpreter.takes_streams(x):
            return Outputs.of_streams(outputs, None, threshold)
        return Outputs(outputs, threshold=threshold)

    @property
    def label_rule(self) -> LabelRule:
        """How the class follows from the outputs; for several outputs it is not known."""
        sinks = self._interpreter.sinks
        if len(sinks) > 1:
            return LabelRule(kind="none", classes=0)
        return LabelRule.of(sinks[0].shape, sinks[0].scale, sinks[0].zero_point, bits=16 if sinks[0].wide else 8)


def keeps_state(content: bytes) -> bool:
    """Whether an inference of a `.tflite` file depends on earlier ones; see `interpreter.keeps_state`."""
    return interpreter.keeps_state(tflite.Model.GetRootAs(content).Subgraphs(0))


def builtin_code(code: Any) -> int:
    """The operator's number, as TFLM reads an OperatorCode: the larger of its two fields.

    Numbers over 126 did not fit the first schema's byte, and some writers leave that byte out. The schema package's
    `BuiltinCode` reads it alone where it is small, so that such a file would consist of ADDs.
    """
    wide = code._tab.Offset(_BUILTIN_CODE)
    number = code._tab.Get(number_types.Int32Flags, code._tab.Pos + wide) if wide else 0
    return max(int(number), int(code.DeprecatedBuiltinCode()))


def probes(shape: tuple[int, ...], count: int, dtype: np.dtype[Any] | type = np.int8) -> Int8:
    """steps[count, *shape] on which implementations are compared: both extremes, then noise; the same on every call.

    Args:
        shape: the shape of a sample.
        count: how many, at least two.
        dtype: int8 or int16.
    """
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    noise = np.random.default_rng(0).integers(low, high, (count - 2, *shape), dtype=dtype, endpoint=True)
    return np.concatenate([np.full((1, *shape), low, dtype), np.full((1, *shape), high, dtype), noise])


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
    """An op's name in TFLM's registrations, from its name in the schema or, if custom, from "CUSTOM " and its code.

    It is empty for custom ops that are not TFLM's, whose names may be any text.
    """
    kind, _, custom = op.partition(" ")
    if kind != "CUSTOM":
        return op
    if re.fullmatch("Signal[A-Za-z0-9]+", custom) and custom not in _CUSTOM:
        return re.sub("(?<!^)(?=[A-Z])", "_", custom.removeprefix("Signal")).upper()
    return _CUSTOM.get(custom, "")


def predict_apart(
    content: bytes, x: Int8, *, arena_bytes: int | None = None, alternate_bytes: int = 0, native: bool = False
) -> Int8:
    """The oracle's scores int8[n, k] for x, int8[n, *input_shape], computed in a separate process.

    For a model with state, x is int8[n, frames, *input_shape], and the scores are those after each frame,
    int8[n, frames, k].

    TFLM aborts on some models and writes its complaints to stderr; neither should reach the caller. `Oracle` explains
    the sizes. If `native`, rows of x hold the bytes of all inputs, of whatever types the file has, and rows of scores
    those of all outputs.

    Raises:
        BadModelError: TFLM refuses the model, aborts on it, or takes more than half an hour or 2 GiB.
    """
    return _apart(content, x, arena_bytes or 0, alternate_bytes, native)[0]


def measure_apart(content: bytes, x: Int8, *, alternate_bytes: int = 0, native: bool = False) -> tuple[Int8, ArenaUse]:
    """The scores as from `predict_apart`, in the smallest arena in which the model runs, and the use of that arena."""
    scores, printed = _apart(content, x, interpreter.LEAST, alternate_bytes, native)
    least, activations, structures = map(int, printed.split())
    return scores, ArenaUse(least, activations, structures)


def _apart(content: bytes, x: Int8, arena_bytes: int, alternate_bytes: int, native: bool) -> tuple[Int8, str]:
    """The scores, and what the child process printed."""
    with scratch_folder() as folder:
        model, inputs, scores = (folder / name for name in ("model.tflite", "x.npy", "scores.npy"))
        model.write_bytes(content)
        np.save(inputs, x)
        edges = interpreter.NATIVE if native else ""
        arguments = map(str, (model, inputs, scores, arena_bytes, alternate_bytes, edges))
        try:
            done = _FORKS.call(*arguments, folder=folder)
        except subprocess.TimeoutExpired as error:
            raise BadModelError(f"TensorFlow Lite Micro does not finish within {_LIMITS.seconds} s") from error
        if done.returncode != 0 or not scores.is_file():
            reason = _reason(done.stderr.decode(errors="replace")) or f"exit status {done.returncode}"
            raise BadModelError(f"TensorFlow Lite Micro refuses the model ({reason})")
        return np.asarray(np.load(scores)), done.stdout.decode()


def _reason(said: str) -> str:
    """The line of TFLM's complaints that says why a model does not run; empty if there is none.

    It is the first one that is not about an arena that was too small, after which a larger one was tried. What TFLM
    and Python add at the end names the node or repeats that something failed.
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    arenas = [line for line in lines if _OF_ARENA.match(line)]
    reasons = [line for line in lines if not _OF_ARENA.match(line) and not _CLOSING.match(line)]
    return (reasons or arenas[-1:] or lines or [""])[0]
