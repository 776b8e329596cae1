"""Options that several verbs have."""

from __future__ import annotations

from typing import Annotated

import typer

Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Compile C that is not what this version generates from the model: you know who made it.",
    ),
]
