"""The verbs boards, build, flash and doctor, as a user calls them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from tests.support.device_support import Builder
from tritguard import api
from tritguard.api.flashing import check_attached
from tritguard.api.keeping import runs_on
from tritguard.api.machine import examine, how_to_install_here
from tritguard.boards import load_board
from tritguard.build import Build
from tritguard.device import AUTO, Bench, connect, emulator_of, upload
from tritguard.device.line import SerialLine
from tritguard.emit import Bundle
from tritguard.errors import BadInputError, DeviceError

pytest_plugins = ("tests.support.device_fixtures",)

TRITGUARD = (sys.executable, "-c", "from tritguard.cli import main; main()")
# A suite that runs in the background of a shell has SIGINT ignored, and what it starts would, too.
INTERRUPTIBLE = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {TRITGUARD[-1]}"


def run(*arguments: str | Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": "200"} | ({"PATH": str(path)} if path else {})
    command = [*TRITGUARD, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A PATH of one's own, with all that the emulated road needs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in ("cc", "arm-none-eabi-gcc", "qemu-system-arm"):
        found = shutil.which(program)
        assert found, f"{program} is needed to test anything here"
        (folder / program).symlink_to(found)
    return folder


def test_doctor_finds_everything(programs: Path) -> None:
    done = run("doctor", path=programs)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All that is needed" in done.stdout
    # What only real boards need may be missing.
    assert "optional openocd: apt install openocd" in done.stdout


@pytest.mark.parametrize(
    ("program", "mend"),
    [
        ("cc", "missing C compiler: apt install gcc"),
        ("arm-none-eabi-gcc", "missing arm-none-eabi-gcc: apt install --no-install-recommends gcc-arm-none-eabi"),
        ("qemu-system-arm", "missing qemu-system-arm: apt install --no-install-recommends qemu-system-arm"),
    ],
)
def test_doctor_says_how_to_mend(program: str, mend: str, programs: Path) -> None:
    (programs / program).unlink()
    done = run("doctor", path=programs)
    assert done.returncode == 3
    assert mend in done.stdout
    assert "Traceback" not in done.stderr


def test_a_port_of_the_machine_itself_is_no_board(monkeypatch: pytest.MonkeyPatch) -> None:
    own, plugged = ListPortInfo("/dev/ttyS0"), ListPortInfo(os.devnull)
    plugged.vid, plugged.description = 0x0483, "STM32 Virtual COM"
    for ports, found in (([own], [("serial port", None)]), ([own, plugged], [(os.devnull, "STM32 Virtual COM")])):
        monkeypatch.setattr(list_ports, "comports", lambda ports=ports: ports)
        seen = [(one.name, one.found) for one in examine() if one.why == "real boards"]
        assert seen == found


def test_doctor_tries_the_programs_it_finds(programs: Path) -> None:
    (programs / "qemu-system-arm").unlink()
    fake = programs / "qemu-system-arm"
    fake.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "QEMU emulator version 1.0.1" || echo none\n')
    fake.chmod(0o755)
    done = run("doctor", path=programs)
    assert done.returncode == 3
    assert "1.0.1, without lm3s6965evb, microbit, mps2-an385, mps2-an386" in done.stdout


def test_boards_are_listed() -> None:
    done = run("boards")
    assert done.returncode == 0
    assert "mps2-an386" in done.stdout
    assert "no hardware has confirmed" in done.stdout


def test_build_and_flash_are_one_road(small_bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "firmware"
    built = run("build", small_bundle.path, "--board", "netduinoplus2", "--out", out)
    assert built.returncode == 0, built.stderr
    assert "firmware for Netduino Plus 2" in built.stdout
    flashed = run("flash", out)
    assert flashed.returncode == 0, flashed.stderr
    assert "netduinoplus2 answers: native engine at 16 MHz" in flashed.stdout
    assert small_bundle.manifest.model_sha256 in flashed.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["build", "{bundle}", "--board", "nucleo", "-o", "{out}"], 2, "no board 'nucleo'"),
        (["build", "{out}", "-o", "{out}"], 2, "no manifest.json here"),
        (["flash", "{bundle}"], 2, "no build.json here"),
        (
            ["flash", "{build}", "--port", "/dev/ttyNONE"],
            2,
            "is emulated only, so nothing can be flashed",
        ),
        (["flash", "{build}", "--method", "dfu"], 2, "no method dfu; it has emulator"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], code: int, words: str, small_bundle: Bundle, small_build: Build, tmp_path: Path
) -> None:
    places = {"bundle": small_bundle.path, "build": small_build.path, "out": tmp_path / "out"}
    done = run(*(argument.format_map(places) for argument in arguments))
    assert done.returncode == code
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not places["out"].exists()


@pytest.mark.parametrize(
    ("arguments", "end", "words"),
    [
        (["train", "-o", "{out}"], signal.SIGINT, "interrupted; start the same command again to go on"),
        (["build", "{bundle}", "-o", "{out}"], signal.SIGINT, "interrupted; nothing was written"),
        (["build", "{bundle}", "-o", "{out}"], signal.SIGTERM, "ended; nothing was written"),
    ],
)
def test_an_interrupted_verb_says_what_it_leaves(
    arguments: list[str], end: signal.Signals, words: str, small_bundle: Bundle, tmp_path: Path
) -> None:
    places = {"bundle": small_bundle.path, "out": tmp_path / "out"}
    command = [sys.executable, "-c", INTERRUPTIBLE, *(argument.format_map(places) for argument in arguments)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while not any(tmp_path.iterdir()):  # it has begun
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(end)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (128 + end, f"{words}\n")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_trace_of_an_error_is_asked_for_anywhere(tmp_path: Path) -> None:
    arguments = ["build", str(tmp_path), "-o", str(tmp_path / "out")]
    assert "Traceback" not in run(*arguments).stderr
    for place in (0, 1, 3):
        asked = run(*arguments[:place], "-v", *arguments[place:])
        assert asked.returncode == 2, place
        assert "Traceback" in asked.stderr and "no manifest.json here" in asked.stderr, place


@pytest.mark.parametrize(("method", "tool"), [("openocd", "openocd"), ("dfu", "dfu-util")])
def test_flashing_a_board_that_is_not_there(
    method: str, tool: str, small_bundle: Bundle, firmware: Builder, programs: Path
) -> None:
    out = firmware(small_bundle, "netduinoplus2").path
    missing = run("flash", out, "--method", method, path=programs)
    assert missing.returncode == 3
    assert f"{tool} is not installed; on Debian or Ubuntu: apt install {tool}" in missing.stderr
    if shutil.which(tool):
        absent = run("flash", out, "--method", method)
        assert absent.returncode == 4
        assert f"netduinoplus2: {tool} failed (" in absent.stderr


@pytest.mark.parametrize("method", ["openocd", "dfu"])
def test_no_path_and_no_file_beside_reaches_the_tool_that_flashes(
    method: str, small_build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenOCD's commands are a program, and its configuration files are looked for in the working directory first."""
    build = Build(tmp_path / "a} ; exec touch [owned] {b", small_build.record)
    shutil.copytree(small_build.path, build.path)
    for name in ("openocd", "dfu-util"):
        (tmp_path / name).write_text(f'#!/bin/sh\n(ls; pwd; printf "%s\\n" "$@") > {tmp_path}/seen\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    upload(build, next(way for way in load_board("netduinoplus2").upload if way.method == method))
    first, second, folder, *arguments = (tmp_path / "seen").read_text().splitlines()
    assert [first, second] == ["firmware.bin", "firmware.elf"]  # and nothing else lies there
    assert Path(folder) != tmp_path and not any("owned" in argument for argument in arguments)
    assert ("program firmware.elf verify reset exit" in arguments) is (method == "openocd")


@pytest.mark.parametrize(("end", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_an_emulated_board_can_stay(
    end: signal.Signals, code: int, small_bundle: Bundle, small_build: Build, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTIBLE, "flash", str(small_build.path), "--stay"],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 120
        while "--port socket://" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "EMULATED: booted in QEMU; no board was programmed\n" in log.read_text()
        assert emulator_of(load_board("pico")).name == "rp2040js"  # which is what is named for a board of its own
        url = log.read_text().split("--port ")[1].split()[0]
        for _ in range(2):
            connect(url, small_bundle, small_build).close()
        with closing(connect(url, small_bundle, small_build)), pytest.raises(DeviceError, match="in use by process"):
            SerialLine(url, 115_200)
        assert runs_on("mps2-an386", url) == runs_on("mps2-an386", None)  # so that what is given again is the same
        process.send_signal(end)
        assert process.wait(timeout=60) == code
        with pytest.raises(DeviceError, match="cannot be opened"):
            connect(url, small_bundle, small_build)
    finally:
        process.kill()
        process.wait()


def test_a_run_that_could_not_flash_its_board_ends_before_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.toml").write_text('name = "n"\nport = "socket://127.0.0.1:1"\n[train]\ndata = "fashion-mnist"\n')
    config = api.read_run_config(tmp_path / "run.toml")
    with pytest.raises(BadInputError, match="emulated only, so nothing can be flashed"):
        api.run(config, tmp_path / "run")
    with pytest.raises(BadInputError, match="a bench is for real boards"):
        api.run(config.model_copy(update={"port": None, "bench": Bench()}), tmp_path / "run")
    monkeypatch.setattr(list_ports, "comports", lambda: [ListPortInfo("/dev/ttyS0")])  # the machine's own
    with pytest.raises(DeviceError, match=r"nucleo_f446re: no serial port on USB is there; plug the board in"):
        api.run(config.model_copy(update={"port": AUTO, "board": "nucleo_f446re"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    said: list[str] = []
    pico, probe = load_board("rpipico"), load_board("nucleo_f446re")
    check_attached(pico, AUTO, None, said.append)  # in its boot loader it has a drive alone
    assert len(said) == 1 and said[0].startswith("no serial port on USB is there: by the time it is flashed, Pico has")
    check_attached(probe, AUTO, Bench(acquire="true"), said.append)
    check_attached(probe, "/dev/ttyACM0", None, said.append)
    assert len(said) == 1


@pytest.mark.parametrize("system", ["linux", "darwin", "win32", "freebsd14"])
def test_what_is_missing_is_installed_by_the_systems_own_means(system: str) -> None:
    ways = {name: how_to_install_here(name, system) for name in ("C compiler", "qemu-system-arm", "newlib", "openocd")}
    known = {"linux": "apt install", "darwin": "brew install", "win32": "winget install"}
    assert known.get(system, "apt install") in ways["qemu-system-arm"] and all(ways.values())
