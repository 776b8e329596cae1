"""The first configuration of a run, written with the meaning of each key beside it."""

from __future__ import annotations

import json
from pathlib import Path

from tritguard.api.road import read_run_config
from tritguard.api.schemas import schema
from tritguard.boards import load_board
from tritguard.errors import BadInputError
from tritguard.files import read_bytes, write_whole
from tritguard.resources import examples_dir
from tritguard.templating import environment

CONFIG = "tritguard.toml"
SCHEMA = "tritguard.schema.json"
BOARD = "mps2-an386"
DATA = "fashion-mnist"
DEMO = "demo"


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
        BadInputError: there is a `tritguard.toml` already, there is no such board, or a text is not a printable line.
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


def example(name: str, folder: str | Path = ".", *, board: str = BOARD, data: str | None = None) -> Path:
    """Write a shipped example as a configuration of a run: the demo, or a trained model, which is copied along.

    Args:
        name: one of `examples`.
        folder: where everything goes; made if it is missing.
        board: an id, or the path of a board's file.
        data: what a model is attacked with; by default what its training names.

    Returns:
        The configuration.

    Raises:
        BadInputError: there is no such example, or see `init`.
    """
    if name not in examples():
        raise BadInputError(f"no example {name!r}", fix=f"there are {', '.join(examples())}")
    place = Path(folder)
    if name == DEMO:
        return init(place, name="ternary-fashion", board=board, data=data or DATA)
    source = examples_dir() / name
    model = place / f"{name}.tflite"
    if model.exists():
        raise BadInputError("exists already", where=str(model), fix="remove it, or give another folder")
    path = init(place, name=name, board=board, model=str(model), data=data or _learned(source))
    write_whole(model, read_bytes(source / "model.tflite"))
    write_whole(place / f"{name}.md", read_bytes(source / "card.md"))
    return path


def examples() -> list[str]:
    """The names of the examples that ship with tritguard."""
    return [DEMO, *sorted(card.parent.name for card in examples_dir().glob("*/card.md"))]


def _learned(source: Path) -> str:
    """The data set that a trained model's record names."""
    name: str = json.loads(read_bytes(source / "train.json"))["config"]["data"]
    return name


def _quoted(text: str) -> str:
    """Write a text as a TOML string; JSON's escapes are TOML's."""
    if not text.isprintable():
        raise BadInputError(f"{text!r} holds characters that no name has")
    return json.dumps(text, ensure_ascii=False)
