"""tritguard convert: a model becomes a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tritguard.boards import CoreClass, core_class, known_cores
from tritguard.cli.progress import console
from tritguard.emit import Bundle, write_bundle
from tritguard.emit.bundle import MANIFEST
from tritguard.errors import BadInputError, BadModelError
from tritguard.train.config import CALIBRATION
from tritguard.train.config import MODEL as KERAS_MODEL
from tritguard.twin import verify_against_oracle

_KERAS_SUFFIXES = {".keras", ".h5", ".hdf5"}


def command(
    model: Annotated[
        Path, typer.Argument(help="An int8 .tflite, a .keras model, or a folder left by 'tritguard train'.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle.")],
    calibration: Annotated[
        Path | None, typer.Option(help="For .keras: .npz with real inputs, from which int8 ranges are taken.")
    ] = None,
    classes: Annotated[str | None, typer.Option(help="Names of the outputs, separated by commas.")] = None,
    name: Annotated[str | None, typer.Option(help="What reports call the model.")] = None,
    core: Annotated[str, typer.Option(help="The core to choose kernels for, as compilers name it.")] = "cortex-m4",
) -> None:
    """Turn a model into a bundle: int8 .tflite, C11 that gives the same bytes, manifest."""
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
    title = name or (model.resolve().name if model.is_dir() else model.stem)
    content = _golden(model, calibration)
    try:
        return write_bundle(content, out, name=title, core=core, classes=classes, check=verify_against_oracle)
    except BadModelError as error:
        error.where = f"{model}: {error.where}" if error.where else str(model)
        raise


def _golden(model: Path, calibration: Path | None) -> bytes:
    if (model / KERAS_MODEL).is_file():
        model, calibration = model / KERAS_MODEL, calibration or model / CALIBRATION
    if model.is_dir():
        what = "a bundle is converted already" if (model / MANIFEST).is_file() else f"a folder without {KERAS_MODEL}"
        raise BadInputError(what, where=str(model), fix="give a .tflite, a .keras, or what 'tritguard train' wrote")
    if model.suffix not in _KERAS_SUFFIXES:
        try:
            return model.read_bytes()
        except OSError as error:
            raise BadInputError(f"cannot be read ({error.strerror})", where=str(model)) from error
    if calibration is None:
        raise BadInputError(
            "a Keras model needs real inputs to choose int8 ranges", where=str(model), fix="give --calibration FILE.npz"
        )
    from tritguard.convert import keras_to_tflite  # noqa: PLC0415 - imports TensorFlow

    return keras_to_tflite(model, calibration)


def describe(bundle: Bundle) -> None:
    """What the bundle holds, in a few lines."""
    manifest = bundle.manifest
    weighted = [layer for layer in manifest.layers if layer.weight_format != "none"]
    ternary = sum(layer.weight_format == "ternary2" for layer in weighted)
    weights = sum(layer.weight_bytes for layer in weighted)
    console.print(
        f"{bundle.path}: {len(manifest.layers)} layers, {manifest.macs:,} MAC, {ternary} of {len(weighted)} weight "
        f"layers ternary, {weights:,} B weights, {manifest.arena_bytes:,} B arena",
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
