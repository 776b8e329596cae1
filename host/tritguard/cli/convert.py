"""tritguard convert: a model becomes a bundle, or arrays for TensorFlow Lite Micro."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tritguard.boards import CoreClass, core_class, known_cores
from tritguard.cli.progress import console
from tritguard.cli.source import about, golden, title
from tritguard.cli.tflm import convert_to_arrays
from tritguard.emit import Bundle, write_bundle
from tritguard.errors import BadInputError
from tritguard.twin import verify_against_oracle


class Target(StrEnum):
    """What a model becomes."""

    NATIVE = "native"
    TFLM = "tflm"


def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    model: Annotated[
        Path, typer.Argument(help="An int8 .tflite, a .keras model, or a folder left by 'tritguard train'.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
    to: Annotated[
        Target, typer.Option(help="native: a bundle of C11 for our firmware; tflm: arrays for TensorFlow Lite Micro.")
    ] = Target.NATIVE,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help=".npz with real inputs. A Keras model takes its int8 ranges from them; arrays are tried on them."
        ),
    ] = None,
    classes: Annotated[str | None, typer.Option(help="Names of the outputs, separated by commas.")] = None,
    name: Annotated[str | None, typer.Option(help="What reports call the model.")] = None,
    core: Annotated[str, typer.Option(help="The core to choose kernels for, as compilers name it.")] = "cortex-m4",
    uncompressed: Annotated[bool, typer.Option("--uncompressed", help="tflm: leave ternary weights as int8.")] = False,
    tflm_compat: Annotated[
        bool, typer.Option("--tflm-compat", help="tflm: for builds without per-channel dense layers and DECODE.")
    ] = False,
) -> None:
    """Turn a model into a bundle (int8 .tflite, C11 that gives the same bytes, manifest), or into TFLM arrays."""
    if to is Target.TFLM:
        if classes:
            raise BadInputError("--classes belongs to --to native: TFLM knows no names")
        convert_to_arrays(model, out, calibration=calibration, name=name, uncompressed=uncompressed, compat=tflm_compat)
        return
    if uncompressed or tflm_compat:
        raise BadInputError("--uncompressed and --tflm-compat belong to --to tflm")
    names = tuple(part.strip() for part in classes.split(",")) if classes else None
    with console.status("Converting"):
        bundle = convert(model, out, core=kernels_for(core), calibration=calibration, classes=names, name=name)
    describe(bundle)


def kernels_for(core: str) -> CoreClass:
    """The class of a core; BadInputError for one without kernels."""
    found = core_class(core)
    if found is None:
        raise BadInputError(f"no kernels for {core!r}", fix=f"give one of {', '.join(known_cores())}")
    return found


def convert(
    model: Path,
    out: Path,
    *,
    core: CoreClass,
    calibration: Path | None = None,
    classes: tuple[str, ...] | None = None,
    name: str | None = None,
) -> Bundle:
    """The verb without its output; see `write_bundle` for what it raises."""
    content = golden(model, calibration)
    with about(model):
        return write_bundle(
            content, out, name=title(model, name), core=core, classes=classes, check=verify_against_oracle
        )


def describe(bundle: Bundle) -> None:
    """What the bundle holds, in a few lines."""
    manifest = bundle.manifest
    weighted = [layer for layer in manifest.layers if layer.weight_format != "none"]
    ternary = sum(layer.weight_format == "ternary2" for layer in weighted)
    weights = sum(layer.weight_bytes for layer in weighted)
    console.print(
        f"{bundle.path}: {len(manifest.layers)} layers, {manifest.macs:,} MAC, {ternary} of {len(weighted)} weight "
        f"layers ternary, {weights:,} B weights, {manifest.arena_bytes:,} B arena "
        f"(bound {manifest.arena_lower_bound:,})",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if (removed := manifest.removed).macs or removed.channels:
        console.print(
            f"left out, as no output depends on it: {removed.channels} channels, {removed.macs:,} MAC, "
            f"{removed.weight_bytes:,} B of int8 weights",
            highlight=False,
            soft_wrap=True,
        )
    if manifest.verified_against_oracle:
        console.print(f"same bytes as TensorFlow Lite Micro on {manifest.verified_against_oracle} random inputs")
    else:
        console.print("[yellow]not compared with TensorFlow Lite Micro: its package is not installed here")
