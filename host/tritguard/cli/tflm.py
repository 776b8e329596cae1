"""What `convert --to tflm` says of the arrays it wrote."""

from __future__ import annotations

from tritguard.cli.terminal import console, say
from tritguard.emit.tflm import Arrays, ArraysManifest


def describe(arrays: Arrays) -> None:
    """Say in a few lines what was written."""
    manifest = arrays.manifest
    say(f"{arrays.path}: {manifest.array_bytes:,} B, of a model of {manifest.model_bytes:,} B; ops {_ops(manifest)}")
    plain, alternate = manifest.uncompressed, manifest.alternate
    if manifest.arena is not None:
        say(
            f"arena {manifest.arena.measured:,} B as measured, and {manifest.scratch.plain:,} B margin for CMSIS-NN "
            f"({manifest.scratch.helium:,} B with Helium)"
        )
    if manifest.arena is not None and plain is not None and alternate is not None:
        layers = "layer" if manifest.compressed_tensors == 1 else "layers"
        saved, arena = plain.array_bytes - manifest.array_bytes, plain.arena.measured
        say(
            f"weights of {manifest.compressed_tensors} {layers} compressed: {saved:,} B less flash for "
            f"{manifest.arena.measured - arena:,} B more arena; or {alternate.arena.measured - arena:,} B more arena "
            f"and {alternate.bytes:,} B of alternate decompression memory"
        )
    if manifest.verified_against_oracle:
        random = manifest.verified_against_oracle - manifest.real_inputs
        real = f"{manifest.real_inputs} real" if manifest.real_inputs else "no real"
        say(f"same bytes as the golden model in TensorFlow Lite Micro on {random} random and {real} inputs")
    else:
        console.print(
            "the golden model as it is, not stripped, its arena not measured: TensorFlow Lite Micro's "
            "interpreter is not installed here",
            style="yellow",
        )


def _ops(manifest: ArraysManifest) -> str:
    return ", ".join(op.removeprefix("CUSTOM TFLM_") for op in manifest.ops)
