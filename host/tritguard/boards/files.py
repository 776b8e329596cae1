"""Finds and reads board files."""

from __future__ import annotations

from pathlib import Path

from tritguard.boards.board import Board
from tritguard.boards.platformio import completed
from tritguard.errors import BadInputError
from tritguard.records import from_table, from_toml, read_toml
from tritguard.resources import boards_dir

_PIO = "pio:"


def available_boards() -> tuple[Board, ...]:
    """The boards that come with tritguard, sorted by id."""
    return tuple(_read(path) for path in sorted(boards_dir().glob("*.toml")))


def load_board(id_or_path: str | Path) -> Board:
    """The shipped board with this id, the board that this TOML file describes, or one that PlatformIO knows.

    Args:
        id_or_path: an id, the path of a `.toml` file, or `pio:PLATFORM/BOARD`.

    Raises:
        BadInputError: there is no such board, or the file does not describe a board.
        ToolMissingError: what the file leaves out is in PlatformIO's own file, and the platform is not on this machine.
    """
    if str(id_or_path).startswith(_PIO):
        platform, _, board = str(id_or_path).removeprefix(_PIO).partition("/")
        table = {"platformio": {"platform": platform, "board": board, "framework": "arduino"}}
        return from_table(Board, completed(table, str(id_or_path)), where=str(id_or_path))
    path = Path(id_or_path)
    if path.suffix == ".toml":
        return _read(path)
    shipped = {file.stem: file for file in boards_dir().glob("*.toml")}
    if str(id_or_path) not in shipped:
        known = ", ".join(sorted(shipped))
        raise BadInputError(
            f"no board '{id_or_path}'",
            fix=f"one of {known}, the path of a board's .toml file, or pio:PLATFORM/BOARD as PlatformIO names it",
        )
    return _read(shipped[str(id_or_path)])


def _read(path: Path) -> Board:
    table = read_toml(path)
    if isinstance(table.get("platformio"), dict):
        return from_table(Board, completed({"id": path.stem} | table, str(path)), where=str(path))
    return from_toml(Board, path)
