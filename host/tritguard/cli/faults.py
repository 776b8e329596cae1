"""tritguard faults: what bit flips in flash do to deployed models."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Annotated

import typer

from tritguard.api import faults
from tritguard.build import open_build
from tritguard.cli.data import read_dataset
from tritguard.cli.options import Trust
from tritguard.cli.study import leave, numbers, settings, show, study_stages
from tritguard.emit import open_bundle
from tritguard.errors import BadInputError
from tritguard.evaluate.faults.study import FAULTS


def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    bundles: Annotated[list[Path], typer.Argument(help="Folders written by 'tritguard convert', one or several.")],
    data: Annotated[str, typer.Option("--data", "-d", help="A data set's name (fashion-mnist) or an .npz file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help=f"Folder of {FAULTS.file} and its report.")],
    build: Annotated[
        list[Path] | None,
        typer.Option("--build", "-b", help="Each bundle's build for an emulated board, in order; else the twin alone."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A TOML file with a \\[faults] table; options go first.")
    ] = None,
    samples: Annotated[int | None, typer.Option("--samples", "-n", help="Test samples to measure with.")] = None,
    flips: Annotated[str | None, typer.Option(help="Numbers of flipped bits, rising, separated by commas.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of samples and draws.")] = None,
    trust: Trust = False,
) -> None:
    """Flip bits of the weights in flash, before boot, and say how accuracy falls: at random, and where it hurts."""
    given = {"samples": samples, "flips": flips and numbers("--flips", flips), "seed": seed}
    plan = settings(FAULTS, config, given)
    if len(build or ()) > len(bundles):
        raise BadInputError(f"{len(build or ())} builds for {len(bundles)} bundles", fix="give one --build a bundle")
    opened = [open_bundle(path, trust=trust) for path in bundles]
    built = [open_build(path) for path in build or ()]
    dataset = read_dataset(data)
    subjects = list(zip_longest(opened, built))
    with study_stages() as named:
        result = faults(subjects, dataset, out, plan=plan, stages=named)
    show(result, out / FAULTS.file)
    leave(result)
