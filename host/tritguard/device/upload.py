"""Flashes a firmware to a real board with the tool that its boot loader or debug probe needs."""

from __future__ import annotations

import shutil
import subprocess

from tritguard.boards import DfuUpload, OpenocdUpload
from tritguard.build import Build
from tritguard.errors import DeviceError, ToolMissingError

OPENOCD = "openocd"
DFU_UTIL = "dfu-util"


def upload(build: Build, way: OpenocdUpload | DfuUpload) -> None:
    """Write the firmware into the board's flash and start it.

    Raises:
        ToolMissingError: OpenOCD or dfu-util is not installed.
        DeviceError: the tool found no board or failed.
    """
    command = _command(build, way)
    tool = command[0]
    if shutil.which(tool) is None:
        raise ToolMissingError(f"{tool} is not installed", fix=f"on Debian or Ubuntu: apt install {tool}")
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
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
        # Braces are OpenOCD's quotes; they allow spaces in the path.
        program = f"program {{{build.elf.resolve()}}} verify reset exit"
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
        str(build.binary),
    ]
