"""Board files."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.support.known_models import ternary_model
from tests.support.mutations import odd_json
from tests.support.shared import ROOT
from tritguard.boards import Board, available_boards, load_board
from tritguard.boards.driver import read_driver
from tritguard.boards.platformio import CORES, facts, find_board
from tritguard.build.engine import native_engine
from tritguard.build.project import write_project
from tritguard.cli import app
from tritguard.emit import write_bundle
from tritguard.errors import BadInputError, TritguardError
from tritguard.resources import boards_dir

FILES = sorted(boards_dir().glob("*.toml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shipped_boards_are_sound(path: Path) -> None:
    board = load_board(path.stem)
    assert board == load_board(path)
    assert board.id == path.stem
    assert board in available_boards()
    assert board.emulator or board.upload
    assert (board.status in ("unconfirmed", "built")) == bool(board.unconfirmed)
    assert (board.status == "built") == (board.built is not None)
    hash(board)


def test_records_of_earlier_versions_are_read() -> None:
    """They hold null for the clock settings of other drivers."""
    board = load_board("mps2-an386")
    record = board.model_dump(mode="json")
    record["clock"] |= {"crystal_hz": None, "reset_hz": None}
    assert Board.model_validate(record) == board


def test_an_unknown_board_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadInputError, match=r"no board 'nucleo'; one of .*lm3s6965evb, .*mps2-an385"):
        load_board("nucleo")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("stack_bytes = 4096", "stack_bytes = 4097"), "stack_bytes"),
        (("stack_bytes = 4096", "stack_bytes = 4096\nleds = 4"), "leds: there is no such key"),
        (
            ('driver = "stm32f4"', 'driver = "pl011"'),
            "uart.driver: no driver 'pl011'; one of arduino, ",
        ),
        (('driver = "stm32f4"', 'driver = ["stm32f4"]'), "uart.driver: Input should be a valid string"),
        (('driver = "stm32f4"', ""), "uart.driver: Field required"),
        (('driver = "stm32f4"', 'driver = "cmsdk"'), "uart.tx: there is no such key"),
        (("reset_hz", "# reset_hz"), "clock.reset_hz: Field required"),
        (("crystal_hz = 25_000_000", "crystal_hz = 0"), "clock.crystal_hz: Input should be greater than or equal to 1"),
        (('tx = "PC6"', 'tx = "6"'), "uart.tx: '6' is not written as in 'PC6'"),
        (('tx = "PC6"', 'tx = "PC16"'), "uart.tx: 'PC16'"),
        (('tx = "PC6"', 'tx = "PC6\\n"'), "uart.tx: 'PC6\\n'"),
        (('tx = "PC6"', "tx = 6"), "uart.tx: Input should be a valid string"),
        (('rx = "PC7"', ""), "uart.rx: Field required"),
        (("alternate = 8", "alternate = 16"), "uart.alternate: Input should be less than or equal to 15"),
        (("irq = 71", "irq = 240"), "uart.irq"),
        (('id = "netduinoplus2"', 'id = "Netduino\\" Plus"'), "id"),
        (
            ("rates = [2_000_000, 921_600]", "rates = [921_600, 2_000_000]"),
            "uart.rates are faster than uart.baud and fall",
        ),
        (("rates = [2_000_000, 921_600]", "rates = [115_200]"), "uart.rates are faster than uart.baud and fall"),
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


@pytest.mark.parametrize("change", [("irq = 2", "irq = 32"), ("baud = 115_200", "baud = 57_600")])
def test_a_driver_narrows_what_every_uart_has(change: tuple[str, str], tmp_path: Path) -> None:
    content = (boards_dir() / "microbit.toml").read_text()
    assert change[0] in content
    path = tmp_path / "own.toml"
    path.write_text(content.replace(*change))
    with pytest.raises(BadInputError, match=rf"uart\.{change[0].split()[0]}: "):
        load_board(path)


def test_what_a_driver_tells_its_c() -> None:
    board = load_board("netduinoplus2")
    assert board.driver.numbers(board.uart, board.clock) == {
        "CLOCK_CRYSTAL_HZ": 25_000_000, "CLOCK_RESET_HZ": 16_000_000, "UART_TX_PORT": 2, "UART_TX_PIN": 6,
        "UART_RX_PORT": 2, "UART_RX_PIN": 7, "UART_ALTERNATE": 8,
    }  # fmt: skip


def test_a_board_is_the_same_after_a_round_through_json() -> None:
    for board in available_boards():
        assert Board.model_validate_json(board.model_dump_json()) == board


# Reaches a C comment, an ini comment, OpenOCD's interpreter or the terminal.
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "*/ __asm__('.incbin \"/etc/passwd\"'); /*"),
        ("name", "Plus 2 /*"),
        ("name", "Plus 2 \\\\"),
        ("name", "Plus\\n[env:other]"),
        ("name", "Plus\\u001b[2J"),
        ("vendor", "${sysenv.HOME}"),
        ("url", "https://example.org/*/"),
        ("url", "javascript:alert(1)"),
        ("fpu", "fpv4-sp-d16 -wrapper /bin/sh"),
        ("interface", "/tmp/own.cfg"),
        ("interface", "interface/../../../tmp/own.cfg"),
        ("target", "target/stm32f4x.cfg} ; exec sh"),
    ],
)
def test_no_text_of_a_board_leaves_the_place_it_is_quoted_in(field: str, value: str, tmp_path: Path) -> None:
    lines = (boards_dir() / "netduinoplus2.toml").read_text().splitlines()
    (at,) = (i for i, line in enumerate(lines) if line.startswith(f"{field} = "))
    quoted = value.replace('"', '\\"')
    lines[at] = f'{field} = "{quoted}"'
    path = tmp_path / "own.toml"
    path.write_text("\n".join(lines))
    with pytest.raises(BadInputError, match=rf"{field}: String should match pattern"):
        load_board(path)


def test_a_name_cannot_end_a_comment_of_the_project(tmp_path: Path) -> None:
    """Not even that of a record that nothing validated."""
    board = load_board("mps2-an386").model_copy(update={"name": "*/ int x; /*\n[env:other]"})
    bundle = write_bundle(ternary_model(), tmp_path / "bundle", name="small")
    project = tmp_path / "project"
    project.mkdir()
    write_project(project, bundle, board, native_engine(bundle))
    for name in ("src/config.h", "platformio.ini"):
        assert "_/ int x; /___env:other_;" in (project / name).read_text().splitlines()[0]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ('about = "x"\nlinker = "x"', "linker: there is no such key"),
        ('about = "x"\nuart.tx = { pattern = "P(", example = "P" }', "no pattern"),
        ('about = "x"\nuart.tx = { pattern = "P", example = "P" }', "names no group"),
        ('about = "x"\nuart.tx = { pattern = "P(?P<pin>[0-9])", example = "PA" }', "not written as in"),
        ('about = "x"\nuart.tx = { pattern = "P(?P<pin>.)", example = "P*" }', "neither a number nor a letter"),
        ('about = "x"\nuart.tx = { pattern = "P(?P<port>[A-Za-z])", example = "Pa" }', "neither a number nor a letter"),
        ('about = "x"\nuart."t x" = { maximum = 1 }', "should match pattern"),
    ],
)
def test_a_wrong_record_of_a_driver_is_refused(record: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "own" / "driver.toml"
    path.parent.mkdir()
    path.write_text(record)
    with pytest.raises(BadInputError) as error:
        read_driver(path)
    assert words in str(error.value) and str(path) in str(error.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be read"):
        load_board(tmp_path / "none.toml")


@pytest.fixture
def known_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PlatformIO's file of the stand-in's board, which a test may change."""
    shutil.copytree(ROOT / "tests" / "arduino" / "platforms", tmp_path / "platforms")
    monkeypatch.setenv(CORES, str(tmp_path))
    (file,) = (tmp_path / "platforms" / "standin" / "boards").glob("*.json")
    return file


def _list_and_read(file: Path) -> dict[str, Any]:
    listed = CliRunner().invoke(app, ["boards", "--search", file.stem])
    assert isinstance(listed.exception, TritguardError | None), listed.exception
    return facts(find_board("standin", file.stem, "here"))


@pytest.mark.parametrize(("part", "key", "value", "words"), [
    ("upload", "maximum_size", None, "does not say maximum_size"),
    ("upload", "maximum_ram_size", "64 K", "does not say maximum_ram_size"),
    ("upload", "maximum_size", -1, "does not say maximum_size"),
    ("build", "f_cpu", "", "does not say f_cpu"),
    ("build", "f_cpu", "9" * 5000, "does not say f_cpu"),
    ("build", "cpu", None, "does not say cpu"),
    ("build", "hwids", [["0x1209", "none"]], "hwids that are no pairs of numbers"),
    ("build", "hwids", [["0x1209"]], "hwids that are no pairs of numbers"),
    ("build", "hwids", ["1209"], "hwids that are no pairs of numbers"),
])  # fmt: skip
def test_what_platformios_file_lacks_is_named(part: str, key: str, value: Any, words: str, known_board: Path) -> None:
    said = json.loads(known_board.read_text())
    said[part][key] = value
    known_board.write_text(json.dumps(said))
    with pytest.raises(BadInputError, match=words):
        _list_and_read(known_board)


def test_any_file_of_platformios_is_read_or_ends_in_a_message(known_board: Path) -> None:
    sound = known_board.read_bytes()
    assert _list_and_read(known_board)["usb"] == ["1209:0001"]
    for seed in range(300):
        known_board.write_bytes(odd_json(sound, random.Random(seed)))
        try:
            _list_and_read(known_board)
        except TritguardError as error:
            assert str(error)
