"""Flashes a firmware to a real board with the tool that its boot loader or debug probe needs."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any

from tritguard.boards import (
    DfuUpload,
    OpenocdUpload,
    PlatformioUpload,
    PyocdUpload,
    TeensyUpload,
    Uf2Upload,
    Upload,
)
from tritguard.build import Build
from tritguard.build.framework_sizes import read_image
from tritguard.build.pio import call_platformio, is_offline
from tritguard.build.project import write_upload_project
from tritguard.device.drives import find_drive, write_plain
from tritguard.device.touch import touch
from tritguard.device.uf2 import to_uf2
from tritguard.errors import BadInputError, DeviceError, ToolMissingError
from tritguard.files import scratch_folder
from tritguard.processes import Limits

OPENOCD = "openocd"
DFU_UTIL = "dfu-util"
PYOCD = "pyocd"
TEENSY = "teensy_loader_cli"
_INSTALL = {
    OPENOCD: "on Debian or Ubuntu: apt install openocd",
    DFU_UTIL: "on Debian or Ubuntu: apt install dfu-util",
    PYOCD: "pip install pyocd",
    TEENSY: "on Debian or Ubuntu: apt install teensy-loader-cli",
}
_ELSE = "check the probe and the cable, and for dfu also that the board is in its boot loader"
_FETCH = "flash once with a connection: PlatformIO fetches it then, and keeps it"
_RULES = "/etc/udev/rules.d/60-tritguard.rules"
_FIXES = (
    (
        re.compile(r"LIBUSB_ERROR_ACCESS|[Pp]ermission denied|Access denied"),
        'let users reach boards on USB: echo \'SUBSYSTEM=="usb", MODE="0666"\' | sudo tee '
        f"{_RULES} && sudo udevadm control --reload && sudo udevadm trigger",
    ),
    (
        re.compile(r"\w: (?:command )?not found$", re.MULTILINE),
        "the uploader calls a program that is not on this machine: install PlatformIO's package of it again, or take "
        "another --method",
    ),
    (
        re.compile(r"No DFU capable"),
        "bring the board into its boot loader: press its boot button while you plug it in or reset it, or press RESET "
        "twice quickly where it has none",
    ),
    (
        re.compile(r"open failed|[Nn]o (?:\w+ ){0,2}(?:probe|device|J-Link)|unable to find|not find"),
        "no probe was found: plug the board in with a cable that carries data, at the connector of its probe",
    ),
)
# What PlatformIO and SCons print about every failure, whatever it was.
_SAYS_NOTHING = re.compile(r"[=*\s-]*$|=+ \[FAILED\]|\*\*\* \[[^\]]*\] Error -?\d+$")
_EPILOGUE = "An unexpected error occurred. Further steps:"
_BUTTON = "press the button on the board"
_WAITS_FOR_TEENSY = "teensy-cli"  # PlatformIO's protocol that calls the same loader in the same way
# PlatformIO's protocols that go through a debug probe.
_PROBES = ("blackmagic", "cmsis-dap", "jlink", "mbed", "stlink")
_SECONDS = 300  # a megabyte of flash takes a slow probe less than one minute
# PlatformIO may fetch the uploader first.
_PLATFORMIO_LIMITS = Limits(seconds=1800, cpu_seconds=1800, memory_bytes=8 << 30, file_bytes=4 << 30)
_DRIVE_SECONDS = 15.0


def upload(build: Build, way: Upload, port: str | None = None) -> None:
    """Write the firmware into the board's flash and start it.

    Args:
        build: the firmware.
        way: one of the board's ways of flashing.
        port: the board's serial port, for boot loaders that are asked for over it; None to let the tool look.

    Raises:
        ToolMissingError: the tool that the way needs is not installed, and PlatformIO cannot fetch it.
        DeviceError: the tool found no board, failed, or took longer than five minutes (PlatformIO: thirty).
        BadInputError: the build has no image that the way takes.
    """
    _WAYS[type(way)](build, way, port)


def waits_for(way: Upload) -> str | None:
    """What the user may have to do while a way of flashing waits in silence; None if it does not wait."""
    if isinstance(way, TeensyUpload) and shutil.which(TEENSY) is None:
        return None  # it does not come to that
    if isinstance(way, TeensyUpload) or (isinstance(way, PlatformioUpload) and way.protocol == _WAITS_FOR_TEENSY):
        return f"waiting for the Teensy's boot loader: {_BUTTON}"
    return None


def by_boot_loader(way: Upload) -> bool:
    """Whether a way may flash a board without any serial port: one in its boot loader, not one behind a debug probe."""
    if isinstance(way, PlatformioUpload):
        return way.protocol not in _PROBES
    return not isinstance(way, OpenocdUpload | PyocdUpload)


def _openocd(build: Build, way: OpenocdUpload, _port: str | None) -> None:
    program = f"program {build.elf.name} verify reset exit"
    _run_tool(build, [OPENOCD, "-f", way.interface, "-f", way.target, "-c", program])


def _dfu(build: Build, way: DfuUpload, _port: str | None) -> None:
    place = ["--dfuse-address", f"{way.address:#010x}:leave", "--download", build.binary.name]
    _run_tool(build, [DFU_UTIL, "--device", way.vid_pid, "--alt", "0", *place])


def _pyocd(build: Build, way: PyocdUpload, _port: str | None) -> None:
    _run_tool(build, [PYOCD, "load", "--no-config", "--no-wait", "--target", way.target, build.elf.name])


def _teensy(build: Build, way: TeensyUpload, _port: str | None) -> None:
    image = "firmware.hex"
    if image not in build.record.images:
        raise BadInputError(f"has no {image}, which the Teensy's loader takes", where=str(build.path))
    _run_tool(build, [TEENSY, f"--mcu={way.mcu}", "-w", "-s", image])


def _uf2(build: Build, way: Uf2Upload, port: str | None) -> None:
    if find_drive(way.model) is None and port is not None:
        touch(port)
    deadline = time.monotonic() + _DRIVE_SECONDS
    while (drive := find_drive(way.model)) is None:
        if port is None or time.monotonic() > deadline:
            raise DeviceError(
                f"no drive of a {way.model} is mounted",
                where=build.record.board.id,
                fix="hold the board's boot button while you plug it in, or where it has none press RESET twice "
                f"quickly; or name its --port{'' if port is None else f', if it is another than {port}'}",
            )
        time.sleep(0.2)
    address, content = read_image(build.elf)
    image = to_uf2(content, address, way.family)
    try:
        write_plain(drive / "firmware.uf2", image)
    except OSError as error:  # the board restarts when it has all blocks, often before the file is closed
        if find_drive(way.model) is not None:
            raise DeviceError(f"the drive took no file ({error})", where=str(drive)) from error


def _platformio(build: Build, way: PlatformioUpload, port: str | None) -> None:
    board = build.record.board
    if board.platformio is None:
        raise BadInputError("is no firmware on a framework of PlatformIO's", where=str(build.path), fix="build again")
    options = ["--disable-auto-clean", "-t", "nobuild", "-t", "upload"]
    if port is not None:
        options += ["--upload-port", port]
    with scratch_folder() as folder:
        project = folder / "project"
        project.mkdir()
        write_upload_project(project, board, way.protocol)
        made = project / ".pio" / "build" / "firmware"
        made.mkdir(parents=True)
        for name in {build.elf.name, *build.record.images}:
            shutil.copyfile(build.path / name, made / name)
        try:
            failed, output = call_platformio(project, board, _PLATFORMIO_LIMITS, *options)
        except subprocess.TimeoutExpired as error:
            raise _late("PlatformIO", _PLATFORMIO_LIMITS.seconds, build) from error
    if failed and is_offline(output):
        raise ToolMissingError(
            f"PlatformIO could not fetch what flashes it ({way.protocol})", where=board.id, fix=_FETCH
        )
    if failed:
        raise _failed(f"PlatformIO's uploader ({way.protocol})", output, build)


_WAYS: Mapping[type[Any], Callable[[Build, Any, str | None], None]] = {
    OpenocdUpload: _openocd,
    DfuUpload: _dfu,
    PyocdUpload: _pyocd,
    TeensyUpload: _teensy,
    Uf2Upload: _uf2,
    PlatformioUpload: _platformio,
}


def _run_tool(build: Build, command: list[str]) -> None:
    tool = command[0]
    if shutil.which(tool) is None:
        raise ToolMissingError(f"{tool} is not installed", fix=_INSTALL[tool])
    try:
        # In a folder of its own, because OpenOCD takes its configuration files from the working directory first, and
        # its language evaluates the path of a firmware more than once.
        with scratch_folder() as folder:
            for file in {build.elf, build.binary, *(build.path / name for name in build.record.images)}:
                shutil.copyfile(file, folder / file.name)
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
            )
    except subprocess.TimeoutExpired as error:
        raise _late(tool, _SECONDS, build) from error
    if done.returncode != 0:
        raise _failed(tool, done.stdout + done.stderr, build)


def _late(tool: str, seconds: int, build: Build) -> DeviceError:
    fix = _BUTTON if tool == TEENSY else "check the probe"
    return DeviceError(f"{tool} did not finish within {seconds} s", where=build.record.board.id, fix=fix)


def _failed(tool: str, output: str, build: Build) -> DeviceError:
    lines = [line.strip() for line in output.partition(_EPILOGUE)[0].splitlines()]
    lines = [line for line in lines if not _SAYS_NOTHING.match(line)] or ["no message"]
    what = next((line for line in lines if line.startswith("Error:")), lines[-1])
    fix = next((fix for pattern, fix in _FIXES if pattern.search(output)), _ELSE)
    return DeviceError(f"{tool} failed ({what})", where=build.record.board.id, fix=fix)
