"""Board files: finding and reading them."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError

from tritguard.boards.board import Board
from tritguard.errors import BadInputError
from tritguard.resources import boards_dir


def available_boards() -> tuple[Board, ...]:
    """The boards that come with tritguard, by id."""
    return tuple(_read(path) for path in sorted(boards_dir().glob("*.toml")))


def load_board(id_or_path: str | Path) -> Board:
    """The board of this id, or of this TOML file.

    Raises:
        BadInputError: there is no such board, or the file is not a board's.
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
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"cannot be read ({error.strerror})", where=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"is no TOML file ({error})", where=str(path)) from error
    try:
        return Board.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise BadInputError(f"not a board of this version ({field}: {first['msg']})", where=str(path)) from error
