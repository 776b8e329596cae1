"""tritguard certify: how many samples no input of a ball can break, proved for the deployed integers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tritguard.api import certify
from tritguard.attack.norms import LP_NORMS
from tritguard.build import open_build
from tritguard.cli.data import read_dataset
from tritguard.cli.options import Replace, Trust
from tritguard.cli.study import leave, numbers, settings, show, study_stages
from tritguard.emit import open_bundle
from tritguard.evaluate.certify.study import CERTIFY
from tritguard.evaluate.registry import read_study


def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    bundle: Annotated[Path, typer.Argument(help="Folder written by 'tritguard convert'.")],
    data: Annotated[str, typer.Option("--data", "-d", help="A data set's name (fashion-mnist) or an .npz file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help=f"Folder of {CERTIFY.file} and its report.")],
    build: Annotated[
        Path | None,
        typer.Option("--build", "-b", help="Its build for an emulated board, which confirms; else the twin."),
    ] = None,
    attacked: Annotated[
        Path | None,
        typer.Option(help="A result.json of 'attack' on the same samples and balls: its attacks are the upper bound."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A TOML file with a \\[certify] table; options go first.")
    ] = None,
    samples: Annotated[int | None, typer.Option("--samples", "-n", help="Test samples.")] = None,
    eps: Annotated[str | None, typer.Option(help="Bounds in int8 steps, rising, by commas.")] = None,
    norm: Annotated[str | None, typer.Option(help=f"What they are measured in: {', '.join(LP_NORMS)}.")] = None,
    level: Annotated[
        str | None, typer.Option(help="How far to go: intervals, relaxation after them, or splitting after both.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Of processor time, for relaxation and again for splitting, a sample and eps.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of samples.")] = None,
    trust: Trust = False,
    replace: Replace = False,
) -> None:
    """Prove how many samples no input of a ball can break: a lower bound beside the attacks' upper one."""
    given = {"samples": samples, "eps": eps and numbers("--eps", eps), "norm": norm, "level": level}
    plan = settings(CERTIFY, config, given | {"seconds": seconds, "seed": seed})
    opened, firmware = open_bundle(bundle, trust=trust), None if build is None else open_build(build)
    result_of_attacks = None if attacked is None else read_study(attacked)
    dataset = read_dataset(data)
    with study_stages(tensorflow=False) as named:
        result = certify(
            opened, dataset, out,
            firmware=firmware, plan=plan, attacked=result_of_attacks, replace=replace, stages=named,
        )  # fmt: skip
    show(result, out / CERTIFY.file)
    leave(result)
