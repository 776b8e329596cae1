"""tritguard sound: attacks recordings through the front end of a keyword spotter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tritguard.api import open_build, sound
from tritguard.cli.data import read_dataset
from tritguard.cli.options import BenchFile, Replace, Trust
from tritguard.cli.study import leave, numbers, settings, show, study_stages
from tritguard.device import read_bench
from tritguard.emit import open_bundle
from tritguard.evaluate.sound.study import SOUND


def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    bundle: Annotated[Path, typer.Argument(help="Folder written by 'tritguard convert'.")],
    build: Annotated[Path, typer.Argument(help="Folder written by 'tritguard build'.")],
    data: Annotated[
        str,
        typer.Option(
            "--data", "-d", help="A folder of recordings, or an .npz that 'tritguard data FOLDER -o FILE' wrote."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help=f"Folder of {SOUND.file} and its report.")],
    port: Annotated[
        str | None,
        typer.Option("--port", "-p", help="Serial port of the board, or 'auto'; without it the emulated one is used."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A TOML file with a \\[sound] table; options go first.")
    ] = None,
    samples: Annotated[int | None, typer.Option("--samples", "-n", help="Test recordings; by default 100.")] = None,
    snr: Annotated[
        str | None, typer.Option(help="Bounds: the signal's energy over the perturbation's, in dB, falling, by commas.")
    ] = None,
    padding: Annotated[
        bool | None,
        typer.Option("--padding/--no-padding", help="Perturb the silence too that fills a recording to one second."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the samples, and of all that is random.")] = None,
    trust: Trust = False,
    replace: Replace = False,
    bench: BenchFile = None,
) -> None:
    """Attack what a keyword spotter hears, within dB of the signal; the sounds are kept, and its report plays them."""
    plan = settings(
        SOUND, config, {"samples": samples, "snr": snr and numbers("--snr", snr), "padding": padding, "seed": seed}
    )
    opened = open_bundle(bundle, trust=trust)
    opened.manifest.check_single()
    opened.manifest.check_narrow()
    built, dataset = open_build(build), read_dataset(data)
    with study_stages() as named:
        result = sound(
            opened, built, dataset, out, plan=plan, port=port, bench=read_bench(bench), stages=named, replace=replace
        )
    show(result, out / SOUND.file)
    leave(result)
