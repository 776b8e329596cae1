"""tritguard privacy: what trained and deployed models tell of their training samples."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from tritguard.api import open_training, privacy
from tritguard.api.source import title
from tritguard.boards import load_board
from tritguard.cli.data import read_dataset
from tritguard.cli.options import Replace
from tritguard.cli.study import leave, settings, show, study_stages
from tritguard.evaluate.privacy.study import PRIVACY


def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    trainings: Annotated[list[Path], typer.Argument(help="Folders written by 'tritguard train', one or several.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help=f"Folder of {PRIVACY.file}, its report and the shadow models.")
    ],
    board: Annotated[
        str | None, typer.Option("--board", "-b", help="Confirm outputs on this emulated board; else the twin alone.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A TOML file with a \\[privacy] table; options go first.")
    ] = None,
    samples: Annotated[int | None, typer.Option("--samples", "-n", help="Members, and as many others.")] = None,
    shadows: Annotated[int | None, typer.Option(help="Models to train like the attacked one; 0: none.")] = None,
    indicator: Annotated[
        int | None, typer.Option(help="Experimental: networks compared to rank post-training quantizers; 0: none.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of samples, shadow models' data and noise.")] = None,
    replace: Replace = False,
) -> None:
    """Say whether a model's outputs tell which samples it was trained on: in float, and deployed as int8 or ternary."""
    given = {"samples": samples, "shadows": shadows, "indicator": indicator, "seed": seed}
    plan = settings(PRIVACY, config, given)
    chip = None if board is None else load_board(board)
    load = cache(read_dataset)
    opened = [open_training(folder, load, title(folder, None)) for folder in trainings]
    with study_stages() as named:
        result = privacy(opened, out, board=chip, plan=plan, replace=replace, stages=named)
    show(result, out / PRIVACY.file)
    leave(result)
