"""tritguard transfer: how attacks carry over between float, int8 and ternary."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tritguard.cli.data import read_dataset
from tritguard.cli.study import leave, numbers, settings, study
from tritguard.emit import open_bundle
from tritguard.evaluate.transfer.study import TRANSFER, study_transfer


def command(
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
) -> None:
    """Craft on each model, ask all of them; and look for inputs that fool a deployed model, its float model not."""
    plan = settings(TRANSFER, config, {"samples": samples, "eps": eps and numbers("--eps", eps), "seed": seed})
    opened = [open_bundle(path) for path in bundles]
    dataset = read_dataset(data)
    models = [(float_name(path), path) for path in floats or []]
    leave(study(TRANSFER, out, lambda progress: study_transfer(opened, models, dataset, plan, progress)))


def float_name(path: Path) -> str:
    """What reports call a float model: a training's by its folder."""
    return path.resolve().parent.name if path.suffix == ".keras" else path.stem
