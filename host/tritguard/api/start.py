"""The first configuration of a run, written with what it means beside each key."""

from __future__ import annotations

import json
from pathlib import Path

from tritguard.api.road import read_run_config
from tritguard.api.schemas import schema
from tritguard.boards import load_board
from tritguard.errors import BadInputError
from tritguard.files import write_whole
from tritguard.templating import environment

CONFIG = "tritguard.toml"
SCHEMA = "tritguard.schema.json"
BOARD = "mps2-an386"
DATA = "fashion-mnist"


def init(
    folder: str | Path = ".",
    *,
    name: str | None = None,
    board: str = BOARD,
    model: str | None = None,
    data: str = DATA,
) -> Path:
    """Write `tritguard.toml`, which a run takes, and the JSON Schema by which editors check and complete it.

    Args:
        folder: where both go; made if it is missing.
        name: what reports call the model; by default the name of its file, or `first`.
        board: an id, or the path of a board's file.
        model: the model to take; without it one is trained on `data`.
        data: a data set's name, or the path of an `.npz`.

    Returns:
        The configuration.

    Raises:
        BadInputError: there is a `tritguard.toml` already, there is no such board, or a text is no line.
    """
    place = Path(folder)
    path = place / CONFIG
    if path.exists():
        raise BadInputError("exists already", where=str(path), fix="remove it, or give another folder")
    load_board(board)
    chosen = name or (Path(model).stem if model else "first")
    texts = {"name": chosen, "board": board, "model": model, "data": data, "schema": SCHEMA}
    written = {key: None if text is None else _quoted(text) for key, text in texts.items()} | {"schema": SCHEMA}
    template = environment("tritguard.api", trim_blocks=True, lstrip_blocks=True).get_template(f"{CONFIG}.jinja")
    write_whole(path, template.render(written))
    write_whole(place / SCHEMA, schema("configuration"))
    read_run_config(path)
    return path


def _quoted(text: str) -> str:
    """Write a text as a TOML string; JSON's escapes are TOML's."""
    if not text.isprintable():
        raise BadInputError(f"{text!r} holds characters that no name has")
    return json.dumps(text, ensure_ascii=False)
