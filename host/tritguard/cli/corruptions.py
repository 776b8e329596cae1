"""tritguard corruptions: accuracy under noise, blur, light and a coarser sensor, on the device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tritguard.api import corruptions, open_build
from tritguard.cli.data import read_dataset
from tritguard.cli.options import BenchFile, Replace, Trust
from tritguard.cli.progress import stages
from tritguard.cli.study import leave, settings, show
from tritguard.device import read_bench
from tritguard.emit import open_bundle
from tritguard.evaluate.corruptions.study import CORRUPTIONS


def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    bundle: Annotated[Path, typer.Argument(help="Folder written by 'tritguard convert'.")],
    build: Annotated[Path, typer.Argument(help="Folder written by 'tritguard build'.")],
    data: Annotated[str, typer.Option("--data", "-d", help="A data set: what 'tritguard data' takes.")],
    out: Annotated[Path, typer.Option("--out", "-o", help=f"Folder of {CORRUPTIONS.file} and its report.")],
    port: Annotated[
        str | None,
        typer.Option("--port", "-p", help="Serial port of the board, or 'auto'; without it the emulated one is used."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A TOML file with a \\[corruptions] table; options go first.")
    ] = None,
    samples: Annotated[int | None, typer.Option("--samples", "-n", help="Test samples; by default 100.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the samples, and of all that is random.")] = None,
    trust: Trust = False,
    replace: Replace = False,
    bench: BenchFile = None,
) -> None:
    """Measure accuracy under common corruptions, a baseline beside the attacks; the device is given every input."""
    plan = settings(CORRUPTIONS, config, {"samples": samples, "seed": seed})
    opened = open_bundle(bundle, trust=trust)
    opened.manifest.check_single()
    opened.manifest.check_narrow()
    built, dataset = open_build(build), read_dataset(data)
    with stages() as named:
        result = corruptions(
            opened, built, dataset, out, plan=plan, port=port, bench=read_bench(bench), stages=named, replace=replace
        )
    show(result, out / CORRUPTIONS.file)
    leave(result)
