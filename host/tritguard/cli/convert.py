"""tritguard convert: turns a model into a bundle, or into arrays for TensorFlow Lite Micro."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from tritguard.api import convert, convert_to_arrays
from tritguard.api.models import CORE
from tritguard.cli.data import read_dataset
from tritguard.cli.progress import stages
from tritguard.cli.terminal import console, say, tell
from tritguard.cli.tflm import describe as describe_arrays
from tritguard.emit import Bundle
from tritguard.emit.bundle import Layer, Ternary
from tritguard.errors import BadInputError
from tritguard.graph.emission import CYCLES_PER_BYTE
from tritguard.graph.formats.registry import WeightFormat, format_names
from tritguard.report.wording import short_op

_FORMATS_ABREAST = 7  # as a terminal of 80 columns shows


class Target(StrEnum):
    """What a model becomes."""

    NATIVE = "native"
    TFLM = "tflm"


def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    model: Annotated[
        Path,
        typer.Argument(help="An int8 .tflite, a Keras or QKeras model, a SavedModel, or what 'tritguard train' left."),
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
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", help="Tell a Keras model's accuracy on this data set before and after."),
    ] = None,
    classes: Annotated[str | None, typer.Option(help="Names of the outputs, separated by commas.")] = None,
    name: Annotated[str | None, typer.Option(help="What reports call the model.")] = None,
    core: Annotated[
        str | None, typer.Option(help=f"The core to choose kernels for, as compilers name it; {CORE} by default.")
    ] = None,
    uncompressed: Annotated[bool, typer.Option("--uncompressed", help="tflm: leave ternary weights as int8.")] = False,
    has_decode: Annotated[
        bool,
        typer.Option(
            "--has-decode", help="tflm: compress wherever the array gets smaller; your firmware has DECODE already."
        ),
    ] = False,
    tflm_compat: Annotated[
        bool, typer.Option("--tflm-compat", help="tflm: for builds without per-channel dense layers and DECODE.")
    ] = False,
    weight_format: Annotated[
        list[str] | None,
        typer.Option(
            "--format", metavar="LAYER=FORMAT", help="Give a layer this weight format instead of the cheapest."
        ),
    ] = None,
    stripes: Annotated[
        bool,
        typer.Option(
            "--stripes/--no-stripes", help="Run layers in stripes of rows where that lowers the memory they need."
        ),
    ] = True,
) -> None:
    """Turn a model into a bundle (int8 .tflite, C11 that gives the same bytes, manifest), or into TFLM arrays."""
    if to is Target.TFLM:
        if classes or core or weight_format:
            raise BadInputError("--classes, --core and --format belong to --to native")
        if has_decode and (uncompressed or tflm_compat):
            raise BadInputError("goes with neither --uncompressed nor --tflm-compat", where="--has-decode")
        with stages() as named:
            arrays = convert_to_arrays(
                model, out, calibration=calibration, name=name, uncompressed=uncompressed, has_decode=has_decode,
                compat=tflm_compat, stages=named,
            )  # fmt: skip
        tell(arrays.manifest)
        describe_arrays(arrays)
        return
    if uncompressed or has_decode or tflm_compat:
        raise BadInputError("--uncompressed, --has-decode and --tflm-compat belong to --to tflm")
    dataset = None
    if data is not None:
        dataset = read_dataset(data)
    names = tuple(part.strip() for part in classes.split(",")) if classes else None
    formats = parse_formats(weight_format or [])
    with stages() as named:
        bundle = convert(
            model,
            out,
            core=core or CORE,
            calibration=calibration,
            classes=names,
            name=name,
            formats=formats,
            stripes=stripes,
            data=dataset,
            note=note,
            stages=named,
        )
    tell(bundle.manifest)
    describe(bundle)
    list_formats(bundle)


def parse_formats(pairs: list[str]) -> dict[int, WeightFormat]:
    """Read LAYER=FORMAT pairs into formats by the layer's number.

    Raises:
        BadInputError: a text is no such pair, or names no format.
    """
    formats: dict[int, WeightFormat] = {}
    for pair in pairs:
        layer, _, weight_format = pair.partition("=")
        if not layer.isdecimal() or weight_format not in format_names():
            raise BadInputError(f"--format {pair}", fix=f"give LAYER=FORMAT with one of {', '.join(format_names())}")
        formats[int(layer)] = weight_format
    return formats


def note(line: str) -> None:
    """Print a remark."""
    say(line)


def describe(bundle: Bundle) -> None:
    """Print what a bundle holds, in a few lines."""
    manifest = bundle.manifest
    weighted = [layer for layer in manifest.layers if layer.weight_format != "none"]
    ternary = sum(layer.ternary is not None for layer in weighted)
    weights = sum(layer.weight_bytes for layer in weighted)
    console.print(
        f"{bundle.path}: {len(manifest.layers)} layers, {manifest.macs:,} MAC, {ternary} of {len(weighted)} weight "
        f"layers ternary, {weights:,} B weights, {manifest.arena_bytes:,} B arena "
        f"(bound {manifest.arena_lower_bound:,})",
        soft_wrap=True,
    )
    if manifest.arena_with_input is not None:
        console.print(
            f"with the input received in it, as in a firmware, the arena takes {manifest.arena_with_input:,} B"
        )
    for chain in manifest.stripes:
        console.print(
            f"layers {chain.first_layer} to {chain.last_layer} run in {chain.count} stripes"
            + (f" ({chain.excess_macs:,} MAC more)" if chain.excess_macs else ""),
        )
    if manifest.stripes:
        console.print(f"without stripes the arena takes {manifest.arena_whole_layers:,} B")
    if (removed := manifest.removed).macs or removed.channels:
        console.print(
            f"left out, as no output depends on it: {removed.channels} channels, {removed.macs:,} MAC, "
            f"{removed.weight_bytes:,} B of int8 weights",
            soft_wrap=True,
        )
    if manifest.verified_against_oracle:
        console.print(f"same bytes as TensorFlow Lite Micro on {manifest.verified_against_oracle} random inputs")
    else:
        console.print("not compared with TensorFlow Lite Micro: its package is not installed here", style="yellow")


def list_formats(bundle: Bundle) -> None:
    """Print a row for each ternary layer: zeros, bytes before and after, estimated cycles in each format."""
    layers = [(layer, layer.ternary) for layer in bundle.manifest.layers if layer.ternary is not None]
    offered = {offer.weight_format for _, ternary in layers for offer in ternary.offers}
    formats = [name for name in format_names() if name in offered]
    if not layers:
        return
    console.print("ternary layers, and the estimated million cycles of each format (* is taken)", style="bold")
    console.print(
        f"a byte of flash counts as {CYCLES_PER_BYTE} cycles, so the fastest is not always taken", soft_wrap=True
    )
    abreast = len(formats) if len(formats) <= _FORMATS_ABREAST else -(-len(formats) // 2)
    for first in range(0, len(formats), abreast):
        console.print(_formats_table(layers, formats[first : first + abreast], sizes=first == 0))


def _formats_table(layers: list[tuple[Layer, Ternary]], formats: list[str], *, sizes: bool) -> Table:
    """A row for each layer and a column for each format; sizes: with zeros and bytes."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("op", overflow="ellipsis", no_wrap=True)
    for heading in (*(("zeros", "int8 B", "now B") if sizes else ()), *formats):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer, ternary in layers:
        cycles: dict[str, str | Text] = {offer.weight_format: f"{offer.cycles / 1e6:.3f}" for offer in ternary.offers}
        cycles[layer.weight_format] = Text(f"*{cycles[layer.weight_format]}", style="bold")
        cells = [str(layer.index), short_op(layer.op)]
        if sizes:
            cells += [f"{ternary.zeros:.0%}", f"{ternary.int8_bytes:,}", f"{layer.weight_bytes:,}"]
        table.add_row(*cells, *(cycles.get(name, "") for name in formats))
    return table
