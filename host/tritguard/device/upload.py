"""Flashes a firmware to a real board with the tool that its boot loader or debug probe needs."""

from __future__ import annotations

import shutil
import subprocess

from tritguard.boards import DfuUpload, OpenocdUpload
from tritguard.build import Build
from tritguard.errors import DeviceError, ToolMissingError
from tritguard.files import scratch_folder

OPENOCD = "openocd"
DFU_UTIL = "dfu-util"
_SECONDS = 300  # a megabyte of flash takes a slow probe less than one minute


def upload(build: Build, way: OpenocdUpload | DfuUpload) -> None:
    """Write the firmware into the board's flash and start it.

    Raises:
        ToolMissingError: OpenOCD or dfu-util is not installed.
        DeviceError: the tool found no board, failed, or took longer than five minutes.
    """
    command = _command(build, way)
    tool = command[0]
    if shutil.which(tool) is None:
        raise ToolMissingError(f"{tool} is not installed", fix=f"on Debian or Ubuntu: apt install {tool}")
    try:
        # In a folder of its own, because OpenOCD takes its configuration files from the working directory first, and
        # its language evaluates the path of a firmware more than once.
        with scratch_folder() as folder:
            for file in (build.elf, build.binary):
                shutil.copyfile(file, folder / file.name)
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
            )
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            f"{tool} did not finish within {_SECONDS} s", where=build.record.board.id, fix="check the probe"
        ) from error
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()] or ["no message"]
        what = next((line for line in lines if line.startswith("Error:")), lines[-1])
        raise DeviceError(
            f"{tool} failed ({what})",
            where=build.record.board.id,
            fix="check the probe and the cable, and for dfu also that the board is in its boot loader",
        )


def _command(build: Build, way: OpenocdUpload | DfuUpload) -> list[str]:
    if isinstance(way, OpenocdUpload):
        program = f"program {build.elf.name} verify reset exit"
        return [OPENOCD, "-f", way.interface, "-f", way.target, "-c", program]
    address = f"{way.address:#010x}:leave"
    return [
        DFU_UTIL,
        "--device",
        way.vid_pid,
        "--alt",
        "0",
        "--dfuse-address",
        address,
        "--download",
        build.binary.name,
    ]
