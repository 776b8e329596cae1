"""Boards at the ports of this machine: found, renamed, busy, wrong, hanging, or behind a serial server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from serial.tools import list_ports

from tests.support.device_support import inputs
from tests.support.impatient import impatient
from tests.support.pretended_board import PretendedBoard, hello_payload
from tests.support.pty_board import PtyBoard
from tests.support.serial_server import SerialServer
from tritguard.boards import load_board
from tritguard.build import Build
from tritguard.device import AUTO, Bench, connect, find_again, find_port, identify, open_device, read_bench
from tritguard.device.line import NoAnswerError, SerialLine
from tritguard.device.link import Patience
from tritguard.device.locks import Lock
from tritguard.device.protocol import Request
from tritguard.emit import Bundle
from tritguard.errors import BadInputError, DeviceError, ToolMissingError, WrongFirmwareError
from tritguard.twin import Twin

pytest_plugins = ("tests.support.device_fixtures",)

TRITGUARD = (sys.executable, "-c", "from tritguard.cli import main; main()")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs pseudo-terminals")


def with_usb(build: Build, *ids: str) -> Build:
    board = build.record.board.model_copy(update={"usb": ids})
    return replace(build, record=build.record.model_copy(update={"board": board}))


@pytest.fixture
def usb_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The ports on USB that pyserial lists: ids by name. Those that are no files of `tmp_path` any more are gone."""
    listed: dict[str, str] = {}

    def comports() -> list[SimpleNamespace]:
        there = {name: ids for name, ids in listed.items() if os.path.lexists(name)}
        numbers = {name: [int(part, 16) for part in ids.split(":")] for name, ids in there.items()}
        return [SimpleNamespace(device=name, vid=vid, pid=pid) for name, (vid, pid) in numbers.items()]

    monkeypatch.setattr(list_ports, "comports", comports)
    yield listed


def test_a_board_that_resets_when_its_port_opens(small_bundle: Bundle, small_build: Build, tmp_path: Path) -> None:
    with (
        PtyBoard(tmp_path, small_bundle, small_build, starts_in=0.7) as board,
        connect(board.port, small_bundle, small_build) as device,
    ):
        assert device.predict(inputs(small_bundle, 3)).scores.shape[0] == 3
        assert not device.emulated


def test_auto_finds_the_board_by_its_ids_and_its_answer(
    small_bundle: Bundle, small_build: Build, tmp_path: Path, usb_ports: dict[str, str]
) -> None:
    build = with_usb(small_build, "1209:0001")
    with (
        PtyBoard(tmp_path, small_bundle, build, "other", hello={"board": "someone-elses"}) as other,
        PtyBoard(tmp_path, small_bundle, build, "unlike") as unlike,
        PtyBoard(tmp_path, small_bundle, build, "right") as right,
    ):
        usb_ports |= {other.port: "1209:0001", unlike.port: "0403:6001", right.port: "1209:0001"}
        found, hello = find_port(build.record.board, lambda place: identify(place, build))
        assert (found, hello.board) == (right.port, small_build.record.board.id)
        x = inputs(small_bundle, 3)
        with connect(AUTO, small_bundle, build) as device:
            assert np.array_equal(device.predict(x).scores, Twin(small_bundle).predict(x).scores)
        assert (other.inferences, unlike.inferences, right.inferences) == (0, 0, 3)
        del usb_ports[right.port], usb_ports[other.port]
        # A board whose ids are not known, or not there, is asked for at every port on USB.
        assert find_port(build.record.board, lambda place: identify(place, build))[0] == unlike.port


def test_auto_says_what_each_port_said(
    small_bundle: Bundle, small_build: Build, tmp_path: Path, usb_ports: dict[str, str]
) -> None:
    build = with_usb(small_build, "1209:0001")
    with pytest.raises(DeviceError, match=r"no serial port on USB is there; .* cable that carries data"):
        connect(AUTO, small_bundle, build)
    with PtyBoard(tmp_path, small_bundle, build, "a", hello={"board": "someone-elses"}) as wrong:
        usb_ports[wrong.port] = "1209:0001"
        with pytest.raises(WrongFirmwareError, match="is of another kind: someone-elses, not mps2-an386") as only:
            connect(AUTO, small_bundle, build)
        assert only.value.exit_code == 4
        (tmp_path / "b").symlink_to("/dev/null")
        usb_ports[str(tmp_path / "b")] = "1209:0001"
        with pytest.raises(DeviceError) as both:
            connect(AUTO, small_bundle, build)
    assert "at none of 2 ports the board answers" in both.value.what
    assert f"{wrong.port}: the board is of another kind" in both.value.what
    assert f"{tmp_path / 'b'}: the port cannot be opened" in both.value.what


def test_a_port_that_was_renamed_is_found_again(
    small_bundle: Bundle, small_build: Build, tmp_path: Path, usb_ports: dict[str, str]
) -> None:
    build = with_usb(small_build, "1209:0001")
    with PtyBoard(tmp_path, small_bundle, build, "tty0") as board:
        before = board.port
        board.power_cycle("tty1")
        usb_ports[board.port] = "1209:0001"
        place, hello = find_again(build.record.board, before, lambda url: identify(url, build), 5)
        assert (place, hello.build_id) == (board.port, build.record.build_id)
        board.switch_off()
        with pytest.raises(DeviceError, match="the port cannot be opened"):
            find_again(build.record.board, before, lambda url: identify(url, build), 0.5)


def test_a_busy_port_names_its_user(small_bundle: Bundle, small_build: Build, tmp_path: Path) -> None:
    with PtyBoard(tmp_path, small_bundle, small_build) as board, Lock("ports", str(Path(board.port).resolve())):
        words = ["selftest", str(small_build.path), "--bundle", str(small_bundle.path), "--port", board.port]
        done = subprocess.run([*TRITGUARD, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 4
        assert f"the port is in use by process {os.getpid()}; wait for it" in done.stderr


def test_a_board_that_hangs_is_power_cycled_and_the_run_goes_on(
    small_bundle: Bundle, small_build: Build, tmp_path: Path, usb_ports: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    monkeypatch.setattr("tritguard.device.inferences.ANSWER_SECONDS", 0.05)
    build = with_usb(small_build, "1209:0001")
    x = inputs(small_bundle, 6)
    wish = tmp_path / "switch"
    with PtyBoard(tmp_path, small_bundle, build, "tty0", hangs_after=2) as board:
        with connect(board.port, small_bundle, build) as device, pytest.raises(DeviceError, match="no answer"):
            device.predict(x)
        board.inferences = 0
        first = board.port
        usb_ports[str(tmp_path / "tty1")] = "1209:0001"
        bench = Bench(
            acquire=f"touch {tmp_path}/acquired", release=f"touch {tmp_path}/released",
            power_cycle=f"{sys.executable} -c \"open('{wish}', 'w').write('{{port}}')\"",
        )  # fmt: skip
        run = Bench.run

        def switched(self: Bench, name: str, *facts: object) -> bool:
            ran = run(self, name, *facts)  # type: ignore[arg-type]
            if name == "power_cycle":
                assert wish.read_text() == first
                board.power_cycle("tty1")
            return ran

        monkeypatch.setattr(Bench, "run", switched)
        with open_device(small_bundle, build, first, bench) as device:
            assert (tmp_path / "acquired").exists() and not (tmp_path / "released").exists()
            found = device.predict(x)
            assert device.power_cycles == board.power_cycles == 1
        assert (tmp_path / "released").exists()
    assert np.array_equal(found.scores, Twin(small_bundle).predict(x).scores)


@pytest.fixture
def switch(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], None]]:
    """What happens when a bench, of the command `true`, switches a board off and on: the entry `switch`."""
    monkeypatch.setattr("tritguard.device.inferences.ANSWER_SECONDS", 0.05)
    monkeypatch.setattr("tritguard.device.board._RETURN_SECONDS", 0.5)
    monkeypatch.setattr("tritguard.device.board.FIRST", Patience(seconds=0.1, attempts=5))
    then: dict[str, Callable[[], None]] = {}
    run = Bench.run

    def switched(self: Bench, name: str, *facts: object) -> bool:
        ran = run(self, name, *facts)  # type: ignore[arg-type]
        if name == "power_cycle":
            then["switch"]()
        return ran

    monkeypatch.setattr(Bench, "run", switched)
    return then


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"outputs": 6}, "tells of 6 outputs"),
        ({"clock_hz": 16_000_000}, "clock was 25,000,000 Hz and is 16,000,000 Hz"),
    ],
)
def test_a_board_that_comes_back_as_another_one_is_refused_and_its_port_let_go(
    changes: dict[str, int], words: str, small_bundle: Bundle, small_build: Build, tmp_path: Path,
    switch: dict[str, Callable[[], None]],
) -> None:  # fmt: skip
    with PtyBoard(tmp_path, small_bundle, small_build, hangs_after=1) as board:
        switch["switch"] = lambda: board.power_cycle("tty0", **changes)
        bench = Bench(power_cycle="true")
        with open_device(small_bundle, small_build, board.port, bench) as device:
            with pytest.raises(DeviceError, match=words):
                device.predict(inputs(small_bundle, 3))
            identify(board.port, small_build)


def test_a_board_that_hangs_at_any_request_is_power_cycled(
    small_bundle: Bundle, small_build: Build, tmp_path: Path, switch: dict[str, Callable[[], None]]
) -> None:
    with PtyBoard(tmp_path, small_bundle, small_build, hangs_after=1) as board:
        switch["switch"] = lambda: board.power_cycle("tty0")
        bench = Bench(power_cycle="true")
        with open_device(small_bundle, small_build, board.port, bench) as device:
            device.predict(inputs(small_bundle, 1))
            assert device.memory().arena == small_bundle.manifest.arena_with_input
            assert device.power_cycles == board.power_cycles == 1


def test_a_crash_that_does_not_repeat_is_reported(small_bundle: Bundle, small_build: Build, tmp_path: Path) -> None:
    with (
        PtyBoard(tmp_path, small_bundle, small_build, crashes_at=30) as board,
        connect(board.port, small_bundle, small_build) as device,
        pytest.raises(DeviceError, match="crashed and the board reset itself: bus fault"),
    ):
        device.predict(inputs(small_bundle, 40))


def test_a_port_that_takes_no_bytes_counts_as_a_board_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tritguard.device.line.WRITE_SECONDS", 0.2)
    ends = os.openpty()
    line = SerialLine(os.ttyname(ends[1]), 115_200)
    try:
        with pytest.raises(NoAnswerError, match=r"took no bytes for 0\.2 s"):
            line.write(bytes(1 << 20))
    finally:
        line.close()
        for end in ends:
            os.close(end)


def test_a_board_behind_a_serial_server_is_a_real_one(small_bundle: Bundle, small_build: Build) -> None:
    with PretendedBoard({Request.HELLO: hello_payload(small_bundle, small_build)}) as server:
        with connect(server.url, small_bundle, small_build) as device:
            assert not device.emulated and device.tick_hz == device.hello.clock_hz
        with pytest.raises(DeviceError, match=r"the port cannot be opened .* that the serial server runs there"):
            connect(server.url.replace("socket", "rfc2217"), small_bundle, small_build)


def test_a_board_behind_a_serial_server_answers(small_bundle: Bundle, small_build: Build, tmp_path: Path) -> None:
    x = inputs(small_bundle, 50)
    with PtyBoard(tmp_path, small_bundle, small_build) as board, SerialServer(board.port) as server:
        for _ in range(2):
            with connect(server.url, small_bundle, small_build) as device:
                assert not device.emulated
                assert np.array_equal(device.predict(x).scores, Twin(small_bundle).predict(x).scores)
        assert small_build.record.board.uart.baud in server.rates
        words = ["--bundle", str(small_bundle.path), "--port", server.url, "-o", str(tmp_path / "record.json")]
        done = subprocess.run(
            [*TRITGUARD, "selftest", str(small_build.path), *words], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("command", "error", "words"),
    [
        ("no-such-program", ToolMissingError, "[bench] acquire: no-such-program is not installed"),
        ("false", DeviceError, "[bench] acquire: false ended with 1 (no message)"),
        ("ls /no/such/place", DeviceError, "[bench] acquire: ls ended with 2 (ls: cannot access '/no/such/place'"),
        ("sleep 9", DeviceError, "[bench] acquire: sleep did not finish within 1 s"),
    ],
)
def test_a_bench_that_fails_says_which_command(
    command: str, error: type[Exception], words: str, small_bundle: Bundle, small_build: Build, tmp_path: Path
) -> None:
    bench = Bench(acquire=command, release=f"touch {tmp_path}/released", seconds=1)
    with pytest.raises(error) as raised, open_device(small_bundle, small_build, "/dev/null", bench):
        pass
    assert words in str(raised.value)
    assert not (tmp_path / "released").exists()  # what was never acquired is not released


def test_commands_of_a_bench_are_words_and_never_a_shells(small_build: Build, tmp_path: Path) -> None:
    bench = Bench(upload=f"touch '{tmp_path}/a b' {tmp_path}/{{board}};id")
    assert bench.run("upload", small_build, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a b", "mps2-an386;id"]
    assert not bench.run("release", small_build, None)
    for wrong in ("", "touch {nothing}", "touch 'open", "touch {0}"):
        with pytest.raises(ValueError, match="no command"):
            Bench(upload=wrong)


def test_only_the_users_own_file_holds_a_bench(small_build: Build, tmp_path: Path) -> None:
    """A board's file may come from anybody, and none of its keys is a command."""
    content = Path(load_board.__globals__["boards_dir"]() / "netduinoplus2.toml").read_text()
    board = tmp_path / "own.toml"
    board.write_text(content + '\n[bench]\nupload = "touch owned"\n')
    with pytest.raises(BadInputError, match="bench: there is no such key"):
        load_board(board)
    own = tmp_path / "run.toml"
    own.write_text('[bench]\npower_cycle = "true"\n')
    bench = read_bench(own)
    assert bench is not None and bench.run("power_cycle", small_build, None)
    own.write_text('[bench]\npower = "true"\n')
    with pytest.raises(BadInputError, match=r"run\.toml:\d+: bench\.power: there is no such key"):
        read_bench(own)
    own.write_text("")
    with pytest.raises(BadInputError, match=r"no \[bench\] table"):
        read_bench(own)


def test_a_command_that_may_never_run_is_looked_for_at_the_start(
    small_bundle: Bundle, small_build: Build, tmp_path: Path
) -> None:
    bench = Bench(acquire=f"touch {tmp_path}/acquired", power_cycle="no-such-program {port}")
    words = r"\[bench\] power_cycle: no-such-program is not installed"
    with pytest.raises(ToolMissingError, match=words), open_device(small_bundle, small_build, "/dev/null", bench):
        pass
    assert not (tmp_path / "acquired").exists()


def test_a_bench_needs_a_port(small_bundle: Bundle, small_build: Build) -> None:
    with (
        pytest.raises(BadInputError, match="a bench is for real boards; name the board's port"),
        open_device(small_bundle, small_build, None, Bench()),
    ):
        pass
