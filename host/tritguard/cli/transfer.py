"""tritguard transfer: how attacks carry over between float, int8 and ternary."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tritguard.api import transfer
from tritguard.cli.data import read_dataset
from tritguard.cli.options import Trust
from tritguard.cli.study import leave, numbers, settings, show, study_stages
from tritguard.emit import open_bundle
from tritguard.evaluate.transfer.study import TRANSFER


def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    bundles: Annotated[list[Path], typer.Argument(help="Folders written by 'tritguard convert', one or several.")],
    data: Annotated[str, typer.Option("--data", "-d", help="A data set's name (fashion-mnist) or an .npz file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help=f"Folder of {TRANSFER.file} and its report.")],
    floats: Annotated[
        list[Path] | None, typer.Option("--float", "-f", help="A .keras model or float .tflite; may be repeated.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A TOML file with a \\[transfer] table; options go first.")
    ] = None,
    samples: Annotated[int | None, typer.Option("--samples", "-n", help="Test samples.")] = None,
    eps: Annotated[str | None, typer.Option(help="L-infinity bounds in int8 steps, rising, by commas.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of samples and attacks.")] = None,
    trust: Trust = False,
) -> None:
    """Craft on each model, ask all of them; and look for inputs that fool a deployed model, its float model not."""
    plan = settings(TRANSFER, config, {"samples": samples, "eps": eps and numbers("--eps", eps), "seed": seed})
    opened = [open_bundle(path, trust=trust) for path in bundles]
    dataset = read_dataset(data)
    with study_stages() as named:
        result = transfer(opened, dataset, out, floats=floats or (), plan=plan, stages=named)
    show(result, out / TRANSFER.file)
    leave(result)
