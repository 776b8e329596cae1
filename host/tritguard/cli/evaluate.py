"""tritguard evaluate: runs a model's test set on its device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tritguard.api import evaluate, open_build
from tritguard.cli.data import read_dataset
from tritguard.cli.options import BenchFile, Trust
from tritguard.cli.progress import stages
from tritguard.cli.study import leave, settings, show
from tritguard.device import read_bench
from tritguard.emit import open_bundle
from tritguard.evaluate.deployment.study import DEPLOYMENT


def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    bundle: Annotated[Path, typer.Argument(help="Folder written by 'tritguard convert'.")],
    build: Annotated[Path, typer.Argument(help="Folder written by 'tritguard build'.")],
    data: Annotated[str, typer.Option("--data", "-d", help="A data set: what 'tritguard data' takes.")],
    out: Annotated[Path, typer.Option("--out", "-o", help=f"Folder of {DEPLOYMENT.file} and its report.")],
    port: Annotated[
        str | None,
        typer.Option("--port", "-p", help="Serial port of the board, or 'auto'; without it the emulated one is used."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A TOML file with an \\[evaluate] table; options go first.")
    ] = None,
    samples: Annotated[int | None, typer.Option("--samples", "-n", help="Test samples; by default all.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the samples drawn, where they are not all.")] = None,
    trust: Trust = False,
    bench: BenchFile = None,
) -> None:
    """Run the test set on the device: accuracy, confusion, latency, and its bytes beside the twin and the oracle."""
    plan = settings(DEPLOYMENT, config, {"samples": samples, "seed": seed})
    opened = open_bundle(bundle, trust=trust)
    opened.manifest.check_single()
    built, dataset = open_build(build), read_dataset(data)
    with stages() as named:
        result = evaluate(opened, built, dataset, out, plan=plan, port=port, bench=read_bench(bench), stages=named)
    show(result, out / DEPLOYMENT.file)
    leave(result)
