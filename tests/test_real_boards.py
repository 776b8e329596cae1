"""The shipped boards that PlatformIO builds for, flashing by every tool, selftest and monitor."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.device_support import Builder
from tests.support.known_models import ternary_model
from tests.support.pretended_board import PretendedBoard, hello_payload
from tests.support.pty_board import PtyBoard
from tests.support.shared import ROOT
from tritguard import api
from tritguard.api.flashing import methods
from tritguard.boards import (
    Board,
    PlatformioUpload,
    PyocdUpload,
    TeensyUpload,
    Uf2Upload,
    Upload,
    available_boards,
    load_board,
)
from tritguard.boards.platformio import CORES, facts, find_board, platform_folder
from tritguard.build import Build, open_build
from tritguard.cli import app
from tritguard.cli.monitor import in_words
from tritguard.cli.terminal import console
from tritguard.device import Bench, drives, read_bench, upload, waits_for
from tritguard.device.protocol import ANSWER, ERROR, Frame, ProtocolError, Request
from tritguard.device.uf2 import to_uf2
from tritguard.emit import Bundle, write_bundle
from tritguard.errors import BadInputError, DeviceError, ToolMissingError
from tritguard.evaluate.selftest import Selftest, read_selftest

pytest_plugins = ("tests.support.device_fixtures", "tests.support.standin")

FRAMEWORK_BOARDS = [board for board in available_boards() if board.platformio is not None]


def test_twenty_five_boards_of_five_platforms_are_shipped() -> None:
    assert len(FRAMEWORK_BOARDS) == 25
    platforms = {board.platformio.platform for board in FRAMEWORK_BOARDS if board.platformio}
    assert platforms == {"ststm32", "raspberrypi", "nordicnrf52", "teensy", "atmelsam"}


@pytest.mark.parametrize("board", FRAMEWORK_BOARDS, ids=lambda board: board.id)
def test_a_shipped_board_is_as_platformios_own_file_has_it(board: Board) -> None:
    assert board.platformio is not None
    if platform_folder(board.platformio.platform) is None:
        pytest.skip(f"needs PlatformIO's platform {board.platformio.platform}: {CORES} names a folder that holds it")
    known = find_board(board.platformio.platform, board.platformio.board, board.id)
    said = facts(known)
    assert (board.core, board.clock.hz) == (said["core"], said["clock"]["hz"])
    assert board.memory.flash.bytes == said["memory"]["flash"]["bytes"]
    assert board.memory.ram.bytes == said["memory"]["ram"]["bytes"]
    assert not said["usb"] or set(board.usb) <= set(said["usb"])
    assert board.platformio.framework in known.facts["frameworks"]
    protocols = {way["protocol"] for way in said["upload"]}
    assert {way.protocol for way in board.upload if isinstance(way, PlatformioUpload)} <= protocols


def test_the_documented_files_are_taken_as_they_are(standin_cores: Path, tmp_path: Path) -> None:
    shown = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "adding-a-board.md").read_text(), re.DOTALL)
    own = tmp_path / "my-board.toml"
    for block in shown:
        # The one change is to what is at hand.
        own.write_text(block.replace("ststm32", "standin").replace("nucleo_f429zi", "standin_an386"))
        board = load_board(own)
        assert (board.id, board.core) == ("my-board", "cortex-m4")
    assert board.stack_bytes == 8192 and board.platformio is not None and board.platformio.defines
    bench = re.search(r"```toml\n(.*?)```", (ROOT / "docs" / "real-boards.md").read_text(), re.DOTALL)
    assert bench is not None
    own.write_text(bench[1])
    hooks = read_bench(own)
    assert hooks is not None and hooks.model_fields_set == {"acquire", "release", "power_cycle", "upload"}


# How PlatformIO ends what it prints of an error that it does not know, as version 6.1 does.
UNEXPECTED = f"""
{60 * "="}

An unexpected error occurred. Further steps:

* Report this problem to the developers
  https://github.com/platformio/platformio-core/issues

{60 * "="}
"""


def with_way(build: Build, way: Upload) -> Build:
    board = build.record.board.model_copy(update={"upload": (way,)})
    return replace(build, record=build.record.model_copy(update={"board": board}))


def test_the_platforms_own_uploader_gets_the_image_that_was_built(
    standin_build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert methods(standin_build) == ["platformio:copy"]
    kept = "PLATFORMIO_CORE_DIR"
    monkeypatch.setenv(kept, str(tmp_path / "core"))
    way = standin_build.record.board.upload[0]
    failure = r"PlatformIO's uploader \(copy\) failed \(Error: no stand-in is connected by copy\)"
    with pytest.raises(DeviceError, match=failure):
        upload(standin_build, way)
    with pytest.raises(DeviceError, match=r"\(Error: no stand-in is connected by another\)"):
        upload(standin_build, PlatformioUpload(method="platformio", protocol="another"))
    monkeypatch.setattr("tritguard.build.pio._KEPT", ("HOME", "STANDIN_FLASH"))
    monkeypatch.setenv("STANDIN_FLASH", str(tmp_path / "flash.bin"))
    upload(standin_build, way)
    assert (tmp_path / "flash.bin").read_bytes() == standin_build.binary.read_bytes()


@pytest.mark.parametrize("kept", [True, False])
def test_nothing_in_somebodys_build_folder_runs_when_it_is_flashed(
    kept: bool, standin_build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PlatformIO runs what a project names even where it builds nothing, and no hash covers the project of a build."""
    folder, ran = tmp_path / "build", tmp_path / "ran"
    shutil.copytree(standin_build.path, folder)
    project = folder / "project"
    if kept:
        (project / "hostile.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
        with (project / "platformio.ini").open("a") as ini:
            ini.write("extra_scripts = pre:hostile.py\n")
    else:
        shutil.rmtree(project)
    monkeypatch.setattr("tritguard.build.pio._KEPT", ("HOME", "STANDIN_FLASH"))
    monkeypatch.setenv("STANDIN_FLASH", str(tmp_path / "flash.bin"))
    build = open_build(folder)
    upload(build, build.record.board.upload[0])
    assert (tmp_path / "flash.bin").read_bytes() == standin_build.binary.read_bytes()
    assert not ran.exists()


def _pretend(tool: str, folder: Path, monkeypatch: pytest.MonkeyPatch, ends: str = "exit 0") -> Path:
    """A tool on PATH that notes its arguments and what lies beside it."""
    program, seen = folder / "bin" / tool, folder / "seen"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\n(ls; printf "%s\\n" "$@") > {seen}\n{ends}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return seen


def test_pyocd_and_the_teensys_loader_get_their_images(
    small_build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = _pretend("pyocd", tmp_path, monkeypatch)
    upload(small_build, PyocdUpload(method="pyocd", target="nrf52840"))
    lines = seen.read_text().splitlines()
    assert lines[-6:] == ["load", "--no-config", "--no-wait", "--target", "nrf52840", "firmware.elf"]
    teensy = TeensyUpload(method="teensy", mcu="TEENSY41")
    with pytest.raises(BadInputError, match=r"has no firmware\.hex, which the Teensy's loader takes"):
        upload(small_build, teensy)
    folder = tmp_path / "build"
    shutil.copytree(small_build.path, folder)
    (folder / "firmware.hex").write_text(":00000001FF\n")
    record = small_build.record.model_copy(update={"images": {"firmware.hex": "0" * 64}})
    assert waits_for(PyocdUpload(method="pyocd", target="nrf52840")) is None
    assert waits_for(PlatformioUpload(method="platformio", protocol="teensy-cli"))
    assert waits_for(teensy) is None or shutil.which("teensy_loader_cli")  # nothing waits where it is missing
    seen = _pretend("teensy_loader_cli", tmp_path, monkeypatch)
    said: list[str] = []
    assert api.flash(with_way(Build(folder, record), teensy), note=said.append) is None
    assert said == ["waiting for the Teensy's boot loader: press the button on the board"]
    assert seen.read_text().splitlines()[-4:] == ["--mcu=TEENSY41", "-w", "-s", "firmware.hex"]
    assert "firmware.hex" in seen.read_text().splitlines()[:3]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Error: open failed", "no probe was found"),
        ("No available debug probes are connected", "no probe was found"),
        ("No connected debug probes", "no probe was found"),
        ("0001511 E No target device available [load_cmd]", "no probe was found"),
        (
            "dfu-util: No DFU capable USB device available",
            "press its boot button while you plug it in or reset it, or press RESET",
        ),
        ("libusb: LIBUSB_ERROR_ACCESS", "/etc/udev/rules.d/60-tritguard.rules"),
        ("Error: something else", "check the probe and the cable"),
    ],
)
def test_what_a_tool_says_becomes_what_to_do(
    said: str, words: str, small_build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pretend("pyocd", tmp_path, monkeypatch, f"echo '{said}' >&2; exit 1")
    with pytest.raises(DeviceError) as error:
        upload(small_build, PyocdUpload(method="pyocd", target="nrf52840"))
    assert said in error.value.what and words in str(error.value.fix)


@pytest.mark.parametrize(
    "said",
    [
        "Tool Manager: Installing platformio/tool-openocd @ ~3.1200.0\nHTTPClientError: \n",
        "fatal: unable to access 'https://x/'\nVCSBaseException: VCS: Could not process command ['git', 'clone']\n",
        "ConnectionError: Traceback (most recent call last):\n  File ...\nrequests.exceptions.ConnectionError: "
        f"HTTPSConnectionPool(host='x', port=443): Max retries exceeded (Failed to resolve 'x')\n\n{UNEXPECTED}",
        "PackageException: Got the unrecognized status code '404' when downloaded https://x/tool.tar.gz\n",
    ],
    ids=["registry", "repository", "address", "status"],
)
def test_an_uploader_that_cannot_be_fetched_is_no_fault_of_the_cable(
    said: str, standin_build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[upload.__module__], "call_platformio", lambda *_: (True, said))
    with pytest.raises(ToolMissingError, match=r"could not fetch what flashes it \(copy\); flash once with a"):
        upload(standin_build, standin_build.record.board.upload[0])


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "Could not start the loader\n*** [upload] Error 127\n=== [FAILED] Took 0.88 seconds ===\n",
            "Could not start ",
        ),
        (
            f"KeyError: Traceback (most recent call last):\n  File ...\nKeyError: 'mcu'\n\n{UNEXPECTED}",
            "KeyError: 'mcu'",
        ),
        ("*** [upload] Error 1\n=== [FAILED] Took 0.10 seconds ===\n", "no message"),
    ],
)
def test_the_last_line_that_says_something_is_shown(
    said: str, shown: str, standin_build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[upload.__module__], "call_platformio", lambda *_: (True, said))
    with pytest.raises(DeviceError, match=rf"PlatformIO's uploader \(copy\) failed \({shown}"):
        upload(standin_build, standin_build.record.board.upload[0])


def test_a_tool_that_is_missing_is_named(small_build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError, match="pyocd is not installed; pip install pyocd"):
        upload(small_build, PyocdUpload(method="pyocd", target="nrf52840"))


def test_uf2_blocks_hold_the_image() -> None:
    image = bytes(range(256)) * 2 + b"end"
    blocks = to_uf2(image, 0x10000000, 0xE48BFF56)
    assert len(blocks) == 3 * 512
    content = b""
    for i in range(3):
        block = blocks[512 * i : 512 * (i + 1)]
        first, second, flags, address, size, number, count, family = struct.unpack_from("<8I", block)
        assert (first, second) == (0x0A324655, 0x9E5D5157) and block[-4:] == struct.pack("<I", 0x0AB16F30)
        assert (flags, address, size, number, count) == (0x2000, 0x10000000 + 256 * i, 256, i, 3)
        assert family == 0xE48BFF56
        content += block[32 : 32 + size]
    assert content == image.ljust(768, b"\0")


def test_a_uf2_goes_to_the_drive_of_its_model(
    small_build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = Uf2Upload(method="uf2", family=0xE48BFF56, model="RPI-RP2")
    places = {"RPI-RP2": tmp_path / "a drive", "OTHER": tmp_path / "other"}
    for model, place in places.items():
        place.mkdir()
        (place / "INFO_UF2.TXT").write_text(f"UF2 Bootloader v3.0\r\nModel: A board\r\nBoard-ID: {model}\r\n")
    mounts = tmp_path / "mounts"
    monkeypatch.setattr(drives, "_MOUNTS", mounts)
    mounts.write_text(f"proc /proc proc rw 0 0\n/dev/sdb1 {places['OTHER']} vfat rw 0 0\n")
    with pytest.raises(DeviceError, match=r"no drive of a RPI-RP2 is mounted; hold .* press RESET twice"):
        upload(small_build, way)
    escaped = str(places["RPI-RP2"]).replace(" ", "\\040")
    mounts.write_text(f"{mounts.read_text()}/dev/sdc1 {escaped} vfat rw 0 0\n")
    upload(small_build, way)
    assert (places["RPI-RP2"] / "firmware.uf2").read_bytes() == to_uf2(small_build.binary.read_bytes(), 0, way.family)
    assert not (places["OTHER"] / "firmware.uf2").exists()


@pytest.mark.skipif(os.name == "nt", reason="a drive of Windows' has neither links nor pipes")
def test_a_link_on_a_drive_is_not_followed(small_build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    way = Uf2Upload(method="uf2", family=0xE48BFF56, model="RPI-RP2")
    drive, other, mounts = tmp_path / "drive", tmp_path / "other", tmp_path / "mounts"
    drive.mkdir()
    other.write_text("Board-ID: RPI-RP2\n")
    (drive / "INFO_UF2.TXT").write_text("Board-ID: RPI-RP2\r\n")
    mounts.write_text(f"/dev/sdb1 {drive} vfat rw 0 0\n")
    monkeypatch.setattr(drives, "_MOUNTS", mounts)
    (drive / "firmware.uf2").symlink_to(other)
    with pytest.raises(DeviceError, match="the drive took no file"):
        upload(small_build, way)
    assert other.read_text() == "Board-ID: RPI-RP2\n"
    (drive / "firmware.uf2").unlink()
    os.mkfifo(drive / "firmware.uf2")
    with pytest.raises(DeviceError, match="the drive took no file"):
        upload(small_build, way)
    (drive / "INFO_UF2.TXT").unlink()
    (drive / "INFO_UF2.TXT").symlink_to(other)
    assert drives.find_drive("RPI-RP2") is None
    (drive / "INFO_UF2.TXT").unlink()
    os.mkfifo(drive / "INFO_UF2.TXT")
    assert drives.find_drive("RPI-RP2") is None


def test_flash_asks_the_board_once_it_is_back(small_bundle: Bundle, small_build: Build, tmp_path: Path) -> None:
    with PtyBoard(tmp_path, small_bundle, small_build, starts_in=0.3) as board:
        bench = Bench(upload=f"cp {{elf}} {tmp_path}/flashed.elf")
        found = api.flash(small_build, port=board.port, bench=bench)
        assert found is not None and found[0] == board.port
        assert (tmp_path / "flashed.elf").read_bytes() == small_build.elf.read_bytes()
        with pytest.raises(BadInputError, match="no method dfu; it has bench"):
            api.flash(small_build, method="dfu", port=board.port, bench=bench)
    with pytest.raises(BadInputError, match="no method; it has emulator"):
        api.flash(small_build)
    with pytest.raises(BadInputError, match="a bench is for real boards; leave --bench out"):
        api.flash(small_build, bench=Bench(acquire="true"))


def test_selftest_proves_an_emulated_board_and_seals_it(
    small_bundle: Bundle, small_build: Build, tmp_path: Path
) -> None:
    notes: list[str] = []
    out = tmp_path / "selftest.json"
    found = api.selftest(small_bundle, small_build, out, note=lambda check: notes.append(check.name))
    assert found.passed and notes == ["hello", "echo", "bytes", "memory", "time", "line"]
    assert (found.inputs, found.mismatched) == (64, 0)
    assert found.emulator is not None and "QEMU" in found.emulator
    assert found.ticks[0] == found.ticks[2]  # instructions do not vary
    assert read_selftest(out) == found == api.read_selftest(out)
    out.write_text(out.read_text().replace('"mismatched": 0', '"mismatched": 1'))
    with pytest.raises(BadInputError, match="was changed since it was sealed"):
        read_selftest(out)


def test_selftest_on_the_f205(common_temp: Path, firmware: Builder, tmp_path: Path) -> None:
    board = load_board("netduino2")
    bundle = write_bundle(ternary_model(), tmp_path / "bundle", name="small", core=board.core_class)
    found = api.selftest(bundle, firmware(bundle, board.id), tmp_path / "selftest.json")
    assert found.passed, found.checks
    assert found.emulator is not None and found.inputs == 64


def test_selftest_on_a_framework(small_bundle: Bundle, standin_build: Build, tmp_path: Path) -> None:
    found = api.selftest(small_bundle, standin_build, tmp_path / "selftest.json")
    assert found.passed, found.checks
    assert found.board.id == "standin" and found.mismatched == 0


def test_selftest_finds_a_board_that_lies(small_bundle: Bundle, small_build: Build, tmp_path: Path) -> None:
    answers = {
        Request.HELLO: hello_payload(small_bundle, small_build),
        Request.ECHO: b"same",
        Request.MEMORY: bytes(16),
        Request.INFER: struct.pack("<Q", 5) + bytes(25),
    }
    out = tmp_path / "selftest.json"
    words = ["selftest", str(small_build.path), "--bundle", str(small_bundle.path), "-o", str(out)]
    with PretendedBoard(answers) as board:
        done = CliRunner().invoke(app, [*words, "--port", board.url])
    assert done.exit_code == 5, done.output
    assert "FAILED echo" in done.output and "FAILED bytes" in done.output and "FAILED memory" in done.output
    assert "passed time" in done.output and "a real board: NOT ALL CHECKS PASSED" in done.output
    record = Selftest.model_validate_json(out.read_text())
    assert not record.passed and record.mismatched > 60 and record.emulator is None


def test_selftest_looks_for_the_bundle_beside_the_build(small_build: Build, tmp_path: Path) -> None:
    shutil.copytree(small_build.path, tmp_path / "build")
    done = CliRunner().invoke(app, ["selftest", str(tmp_path / "build")])
    assert isinstance(done.exception, BadInputError) and "no bundle beside the build" in str(done.exception)
    done = CliRunner().invoke(app, ["selftest", str(tmp_path / "none")])
    assert isinstance(done.exception, BadInputError) and "none: no such folder; give" in str(done.exception)


def test_monitor_shows_what_a_board_sends(small_bundle: Bundle, small_build: Build, tmp_path: Path) -> None:
    with PtyBoard(tmp_path, small_bundle, small_build) as board:
        command = [sys.executable, "-m", "tritguard", "monitor", board.port, "--seconds", "0.5"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "HELLO: mps2-an386, native engine, 25 MHz" in done.stdout
    assert "MEMORY: arena 3072, static 4071, stack 500 of 4096 B" in done.stdout
    for item, words in (
        (ProtocolError("a bad CRC"), "no frame: a bad CRC"),
        (Frame(ERROR, 7, struct.pack("<BBHI", 3, 9, 0, 0)), "#7 ERROR: it does not know request 9"),
        (Frame(Request.HELLO + ANSWER, 8, b"short"), "#8 type 0x81, 5 B: a HELLO of 5 bytes is too short"),
        (Frame(Request.ECHO + ANSWER, 9, b"ab"), "#9 ECHO: 2 B 61 62"),
    ):
        assert in_words(item) == words


def test_boards_are_searched_in_platformios_too(monkeypatch: pytest.MonkeyPatch, standin_cores: Path) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    found = CliRunner().invoke(app, ["boards", "--search", "an386"]).output
    assert "mps2-an386" in found and "pio:standin/standin_an386" in found and "untried" in found
    assert "nucleo" not in found
    told = json.loads(CliRunner().invoke(app, ["boards", "--search", "an386", "--json"]).stdout)
    assert [board["id"] for board in told["boards"]] == ["mps2-an386"]
    (known,) = told["platformio"]
    assert (known["id"], known["core"]) == ("pio:standin/standin_an386", "cortex-m4")
    assert known["flash_bytes"] > 0 and known["ram_bytes"] > 0 and known["upload"].startswith("platformio:")
    assert "no board has 'xyzzy' in its id or name" in CliRunner().invoke(app, ["boards", "--search", "xyzzy"]).output
    monkeypatch.delenv(CORES)
    monkeypatch.setenv("PLATFORMIO_CORE_DIR", str(standin_cores / "nowhere"))
    alone = CliRunner().invoke(app, ["boards", "--search", "nucleo"]).output
    assert "nucleo_f446re" in alone and "no platform of PlatformIO is on this machine" in " ".join(alone.split())


@pytest.mark.parametrize("columns", [80, 110])
def test_a_way_to_flash_breaks_behind_its_colon_at_most(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_width", columns)  # COLUMNS counts for a console that is not made yet
    shown = CliRunner().invoke(app, ["boards"]).output
    words = set(re.split(r"[\s:]+", shown.split("\n\n")[0]))
    assert {"platformio", "nrfutil", "picotool", "cmsis-dap", "teensy-gui", "openocd"} <= words
    assert ("platformio:picotool" in shown) == (columns == 110)
