"""Finds and reads board files."""

from __future__ import annotations

from pathlib import Path

from tritguard.boards.board import Board
from tritguard.errors import BadInputError
from tritguard.records import from_toml
from tritguard.resources import boards_dir


def available_boards() -> tuple[Board, ...]:
    """The boards that come with tritguard, sorted by id."""
    return tuple(_read(path) for path in sorted(boards_dir().glob("*.toml")))


def load_board(id_or_path: str | Path) -> Board:
    """The shipped board with this id, or the board that this TOML file describes.

    Raises:
        BadInputError: there is no such board, or the file does not describe a board.
    """
    path = Path(id_or_path)
    if path.suffix == ".toml":
        return _read(path)
    shipped = {file.stem: file for file in boards_dir().glob("*.toml")}
    if str(id_or_path) not in shipped:
        known = ", ".join(sorted(shipped))
        raise BadInputError(f"no board '{id_or_path}'", fix=f"one of {known}, or the path of a board's .toml file")
    return _read(shipped[str(id_or_path)])


def _read(path: Path) -> Board:
    return from_toml(Board, path)
