"""The verb `convert` with `--to tflm`: a model becomes arrays for TensorFlow Lite Micro."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tritguard.cli.progress import bar, console
from tritguard.cli.source import golden, title
from tritguard.data import read_samples, to_input_bytes
from tritguard.emit.tflm import Arrays, ArraysManifest, input_edge, write_arrays
from tritguard.errors import about
from tritguard.predictor import Int8
from tritguard.train.config import CALIBRATION

_REAL_INPUTS = 32


def convert_to_arrays(
    model: Path, out: Path, *, calibration: Path | None, name: str | None, uncompressed: bool, compat: bool
) -> None:
    """Convert, and say what came out; see `write_arrays` for what it raises."""
    with console.status("Converting"):
        content = golden(model, calibration)
    if calibration is None and (model / CALIBRATION).is_file():
        calibration = model / CALIBRATION
    with about(model), bar("Trying in TensorFlow Lite Micro") as report:
        real = None if calibration is None else _real_inputs(content, calibration)
        arrays = write_arrays(
            content, out, name=title(model, name), real=real, uncompressed=uncompressed, compat=compat, progress=report
        )
    _describe(arrays)


def _real_inputs(content: bytes, samples: Path) -> Int8:
    """Some of a file's samples, evenly spaced, on the model's input grid."""
    x = read_samples(samples)
    source = input_edge(content)
    chosen = x[np.linspace(0, len(x) - 1, min(_REAL_INPUTS, len(x))).astype(int)]
    return to_input_bytes(chosen, source.scale, source.zero_point)


def _describe(arrays: Arrays) -> None:
    manifest = arrays.manifest
    _say(f"{arrays.path}: {manifest.array_bytes:,} B, of a model of {manifest.model_bytes:,} B; ops {_ops(manifest)}")
    plain, alternate = manifest.uncompressed, manifest.alternate
    if manifest.arena is not None:
        _say(
            f"arena {manifest.arena.measured:,} B as measured, and {manifest.scratch.plain:,} B margin for CMSIS-NN "
            f"({manifest.scratch.helium:,} B with Helium)"
        )
    if manifest.arena is not None and plain is not None and alternate is not None:
        layers = "layer" if manifest.compressed_tensors == 1 else "layers"
        saved, arena = plain.array_bytes - manifest.array_bytes, plain.arena.measured
        _say(
            f"weights of {manifest.compressed_tensors} {layers} compressed: {saved:,} B less flash for "
            f"{manifest.arena.measured - arena:,} B more arena; or {alternate.arena.measured - arena:,} B more arena "
            f"and {alternate.bytes:,} B of alternate decompression memory"
        )
    if manifest.verified_against_oracle:
        random = manifest.verified_against_oracle - manifest.real_inputs
        real = f"{manifest.real_inputs} real" if manifest.real_inputs else "no real"
        _say(f"same bytes as the golden model in TensorFlow Lite Micro on {random} random and {real} inputs")
    else:
        console.print(
            "[yellow]the golden model as it is, not stripped, its arena not measured: TensorFlow Lite Micro's "
            "interpreter is not installed here"
        )


def _ops(manifest: ArraysManifest) -> str:
    return ", ".join(op.removeprefix("CUSTOM TFLM_") for op in manifest.ops)


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
