"""What `convert --to tflm` says of the arrays it wrote."""

from __future__ import annotations

from tritguard.cli.terminal import console, say
from tritguard.emit.tflm import DECODE_CODE_BYTES, Arrays, ArraysManifest


def describe(arrays: Arrays) -> None:
    """Say in a few lines what was written."""
    manifest = arrays.manifest
    say(f"{arrays.path}: {manifest.array_bytes:,} B, of a model of {manifest.model_bytes:,} B; ops {_ops(manifest)}")
    if manifest.arena is not None:
        say(
            f"arena {manifest.arena.measured:,} B as measured, and {manifest.scratch.plain:,} B margin for CMSIS-NN "
            f"({manifest.scratch.helium:,} B with Helium)"
        )
    _describe_weights(manifest)
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


def _describe_weights(manifest: ArraysManifest) -> None:
    """Say what compression saves with DECODE's own code counted, and what in firmware that has that already."""
    plain, alternate, left = manifest.uncompressed, manifest.alternate, manifest.left
    if left is not None:
        say(
            f"weights of {_layers(left.tensors)} left as int8: compressed they take "
            f"{manifest.array_bytes - left.array_bytes:,} B less flash, and DECODE's own code some "
            f"{DECODE_CODE_BYTES:,} B; where your firmware has DECODE already, give --has-decode"
        )
    if manifest.arena is None or plain is None or alternate is None:
        return
    saved, arena = plain.array_bytes - manifest.array_bytes, plain.arena.measured
    net = saved - DECODE_CODE_BYTES
    say(
        f"weights of {_layers(manifest.compressed_tensors)} compressed: {saved:,} B less flash where your firmware has "
        f"DECODE already, and some {abs(net):,} B {'less' if net > 0 else 'more'} with DECODE's own code, for "
        f"{manifest.arena.measured - arena:,} B more arena; or {alternate.arena.measured - arena:,} B more arena "
        f"and {alternate.bytes:,} B of alternate decompression memory"
    )


def _layers(count: int) -> str:
    return f"{count} {'layer' if count == 1 else 'layers'}"


def _ops(manifest: ArraysManifest) -> str:
    return ", ".join(op.removeprefix("CUSTOM TFLM_") for op in manifest.ops)
