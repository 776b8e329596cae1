"""Options that several verbs have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Compile C that is not what this version generates from the model: you know who made it.",
    ),
]

BenchFile = Annotated[
    Path | None,
    typer.Option(
        "--bench", help="A TOML file of your own with a \\[bench] table: commands that lease and power a board."
    ),
]

Replace = Annotated[
    bool,
    typer.Option("--replace", help="Put the result in the place of one of other data, another model, board or plan."),
]
