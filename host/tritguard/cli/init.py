"""tritguard init: writes the first configuration of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tritguard.api.start import BOARD, CONFIG, DATA, SCHEMA, example, examples, init
from tritguard.cli.terminal import say, tell
from tritguard.errors import BadInputError


def command(
    folder: Annotated[Path, typer.Argument(help="Where to write it.")] = Path(),
    model: Annotated[
        str | None,
        typer.Option(help="A model of yours: an int8 .tflite, a Keras model, a SavedModel. Else one is trained."),
    ] = None,
    data: Annotated[str | None, typer.Option("--data", "-d", help=f"A data set; by default {DATA}.")] = None,
    board: Annotated[str | None, typer.Option(help=f"A board; by default {BOARD}, which is emulated.")] = None,
    name: Annotated[str | None, typer.Option(help="What reports call the model.")] = None,
    shipped: Annotated[
        str | None, typer.Option("--example", help=f"Start from what ships with tritguard: {', '.join(examples())}.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing, as where there is no terminal.")] = False,
) -> None:
    """Write a commented tritguard.toml, and the schema by which editors check it; on a terminal it asks first."""
    if shipped is not None:
        if model or name:
            raise BadInputError("an example has its own model and name", where="--example", fix="leave --model out")
        _done(example(shipped, folder, board=board or BOARD, data=data), folder)
        return
    if sys.stdin.isatty() and not yes:
        model = model if model is not None else typer.prompt("Model (empty: train one)", default="", show_default=False)
        data = data if data is not None else typer.prompt("Data", default=DATA)
        board = board if board is not None else typer.prompt("Board", default=BOARD)
    _done(init(folder, name=name, board=board or BOARD, model=model or None, data=data or DATA), folder)


def _done(path: Path, folder: Path) -> None:
    tell({"written": [path, path.with_name(SCHEMA)]})
    say(f"written: {path}, and {SCHEMA} for editors")
    there = folder.resolve() == Path.cwd()
    say(f"next: tritguard run{'' if there else f' {folder / CONFIG}'}")
