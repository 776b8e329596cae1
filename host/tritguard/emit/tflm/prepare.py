"""Makes the bytes of the array from the golden model: rewrites it, then measures and compares in TFLM's interpreter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tritguard.emit.tflm.arena import Arena
from tritguard.emit.tflm.compat import for_old_tflm
from tritguard.emit.tflm.compress import Compressed, compress, compressible, pays
from tritguard.emit.tflm.container import ALIGNMENT
from tritguard.emit.tflm.edges import ArrayEdge, all_edges
from tritguard.emit.tflm.manifest import Alternate, Left, Uncompressed
from tritguard.emit.tflm.strip import strip
from tritguard.errors import MismatchError, ToolMissingError
from tritguard.graph.flatbuffer import parse
from tritguard.oracle import measure_apart, oracle_available, predict_apart
from tritguard.predictor import Int8
from tritguard.progress import Progress

_FLAT = 2  # distinct bytes in an input that tells little: a constant input has one, or two if its elements have 16 bits
_ROWS = 2  # axes of scores, [n, k]; those of streams have one more


@dataclass(frozen=True)
class Sample:
    """The bytes of all inputs, and of the golden model's outputs for them: what the user's TFLM is checked on."""

    x: Int8
    scores: Int8


@dataclass(frozen=True)
class Prepared:
    """The array's bytes and what was measured; all fields but the sample are those of `ArraysManifest`."""

    content: bytes
    sample: Sample | None = None
    compressed_tensors: int = 0
    arena: Arena | None = None
    alternate: Alternate | None = None
    uncompressed: Uncompressed | None = None
    left: Left | None = None
    verified_against_oracle: int = 0


def prepare(
    golden: bytes, x: Int8, *, uncompressed: bool, has_decode: bool, compat: bool, progress: Progress | None = None
) -> Prepared:
    """Make the array that takes the least flash and gives the bytes of all outputs of the golden model.

    Args:
        golden: the `.tflite` file.
        x: int8[n, bytes of all inputs] to compare on or, for a model with state, streams int8[n, frames, bytes].
        uncompressed: leave ternary weights as int8.
        has_decode: do not count DECODE's own code, because the firmware has it in any case.
        compat: for TFLM builds that read per-channel dense layers wrongly and have no DECODE.
        progress: called with (runs in the interpreter done, total).

    Raises:
        MismatchError: a rewritten model gives other bytes.
        BadModelError: TFLM refuses the golden model or a rewritten one.
        ToolMissingError: there is no interpreter, and the array would not be the golden model as it is.
    """
    if not oracle_available():
        return _untouched(golden, uncompressed=uncompressed, has_decode=has_decode, compat=compat)
    # First of all, as TFLM refuses unsound models before anything here takes them apart.
    expected = predict_apart(golden, x, native=True)
    plain = strip(for_old_tflm(golden), keep_quantization=True) if compat else strip(golden)
    # tflite-micro's compression knows one subgraph.
    compressed = None if compat or uncompressed or parse(golden).further else compress(plain)
    left = None if compressed is None else _left(plain, compressed, has_decode=has_decode)
    chosen = compressed if left is None else None
    proof = _Proof(expected, x, 2 if chosen is None else 4, progress)
    arena = proof.arena(plain)
    sample = _telling(x, expected, all_edges(golden)[1])
    if chosen is None:
        return Prepared(plain, sample, arena=arena, left=left, verified_against_oracle=x[..., 0].size)
    content = strip(chosen.content)
    alternate_bytes = -(-chosen.decoded_bytes // ALIGNMENT) * ALIGNMENT
    return Prepared(
        content,
        sample,
        compressed_tensors=chosen.tensors,
        arena=proof.arena(content),
        alternate=Alternate(arena=proof.arena(content, alternate_bytes), bytes=alternate_bytes),
        uncompressed=Uncompressed(array_bytes=len(plain), arena=arena),
        verified_against_oracle=x[..., 0].size,
    )


def _left(plain: bytes, compressed: Compressed, *, has_decode: bool) -> Left | None:
    """What compression would give where DECODE's code takes more than it saves; None where it pays."""
    size = len(strip(compressed.content))
    if pays(len(plain) - size, has_decode=has_decode):
        return None
    return Left(tensors=compressed.tensors, array_bytes=size)


def _telling(x: Int8, scores: Int8, sinks: tuple[ArrayEdge, ...]) -> Sample:
    """The input whose outputs are most distinct and widest apart, as wrong arithmetic can hide behind equal ones.

    An input of many values comes before a flat one, which hides what is wrong with a single position or channel.
    """
    if scores.ndim > _ROWS:  # the user's program runs the first frame of a stream
        x, scores = x[:, 0], scores[:, 0]

    def telling(row: Int8) -> tuple[int, float]:
        distinct, apart = 0, 0.0
        for sink in sinks:
            values, row = sink.parted(row)
            finite = values[np.isfinite(values)].astype(np.float64)
            distinct, apart = distinct + np.unique(finite).size, apart + (float(finite.std()) if finite.size else 0)
        return distinct, apart

    best = max(range(len(x)), key=lambda i: (np.unique(x[i]).size > _FLAT, *telling(scores[i])))
    return Sample(x[best], scores[best])


class _Proof:
    """Compares candidates with the outputs of the golden model, whose run counts as the first."""

    def __init__(self, expected: Int8, x: Int8, runs: int, progress: Progress | None) -> None:
        self._expected, self._x, self._runs, self._progress = expected, x, runs, progress
        self._done = 0
        if progress is not None:
            progress(0, runs)
        self._step()

    def arena(self, content: bytes, alternate_bytes: int = 0) -> Arena:
        """The arena that a candidate needs, after it has given the golden bytes in an arena of just that size."""
        scores, use = measure_apart(content, self._x, alternate_bytes=alternate_bytes, native=True)
        if not np.array_equal(scores, self._expected):
            different = int((scores != self._expected).reshape(len(self._x), -1).any(axis=1).sum())
            raise MismatchError(
                f"the array and the golden model differ on {different} of {len(self._x)} inputs in TensorFlow Lite "
                "Micro; nothing is written",
                fix="this is a bug: please report it with the model",
            )
        self._step()
        return Arena(measured=use.least, activations=use.activations, structures=use.structures)

    def _step(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._runs)


def _untouched(golden: bytes, *, uncompressed: bool, has_decode: bool, compat: bool) -> Prepared:
    """The golden model as it is, the one array that needs no comparison."""
    what = "a rewritten model" if compat else "compressed weights"
    if compat or (compressible(golden, has_decode=has_decode) and not uncompressed):
        raise ToolMissingError(
            f"{what} cannot be verified on this machine, and nothing is written unverified",
            fix="pip install 'tritguard[oracle]' (Linux on x86-64)" + ("" if compat else ", or give --uncompressed"),
        )
    return Prepared(golden)
