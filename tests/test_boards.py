"""Board files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tritguard.boards import available_boards, load_board
from tritguard.errors import BadInputError
from tritguard.resources import boards_dir

FILES = sorted(boards_dir().glob("*.toml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shipped_boards_are_sound(path: Path) -> None:
    board = load_board(path.stem)
    assert board == load_board(path)
    assert board.id == path.stem
    assert board in available_boards()
    assert board.emulator or board.upload
    assert (board.status == "unconfirmed") == bool(board.unconfirmed)
    hash(board)


def test_an_unknown_board_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadInputError, match="no board 'nucleo'; one of lm3s6965evb, microbit, mps2-an385"):
        load_board("nucleo")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("stack_bytes = 4096", "stack_bytes = 4097"), "stack_bytes"),
        (("stack_bytes = 4096", "stack_bytes = 4096\nleds = 4"), "leds: Extra inputs"),
        (('driver = "stm32f4"', 'driver = "pl011"'), "uart"),
        (("reset_hz", "# reset_hz"), "clock.reset_hz"),
        (('tx = "PC6"', 'tx = "6"'), "uart.stm32f4.tx"),
        (('id = "netduinoplus2"', 'id = "Netduino\\" Plus"'), "id"),
        (("[clock]", "[clock"), "not TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_field(change: tuple[str, str], words: str, tmp_path: Path) -> None:
    content = (boards_dir() / "netduinoplus2.toml").read_text()
    assert change[0] in content
    path = tmp_path / "own.toml"
    path.write_text(content.replace(*change))
    with pytest.raises(BadInputError) as error:
        load_board(path)
    assert words in str(error.value)
    assert str(path) in str(error.value)
    assert error.value.exit_code == 2


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be read"):
        load_board(tmp_path / "none.toml")
