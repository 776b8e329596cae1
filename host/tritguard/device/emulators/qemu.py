"""QEMU: guest time counted in instructions."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from typing_extensions import override

from tritguard.boards import Board
from tritguard.device.emulators.interface import Counting, Emulator
from tritguard.device.emulators.qemu_plugin import plugin_library
from tritguard.errors import ToolMissingError

PROGRAM = "qemu-system-arm"
NANOSECONDS_PER_INSTRUCTION = 64
_ICOUNT = "shift=6,sleep=off"  # each instruction takes 2**6 ns of guest time, however fast the host is
# At each inference over the bulk line, QEMU translates the code at which it stops the core anew. It drops the old
# translation, some 400 bytes, only when its cache is full, which by itself it lets grow to 1 GiB. This is several times
# what a firmware needs: ResNet8's runs as fast in 1 MiB.
TRANSLATED_MIB = 8


class Qemu(Emulator):
    """Debian's `qemu-system-arm`, or any other build of it."""

    name = "QEMU"
    has_debugger = True
    cycles_method = None
    slowest_hz = None

    @override
    def command(self, board: Board, elf: Path, counting: Counting | None, debugger: int | None) -> list[str]:
        if shutil.which(PROGRAM) is None:
            raise ToolMissingError(
                f"{PROGRAM} is not installed", fix="on Debian or Ubuntu: apt install qemu-system-arm"
            )
        assert board.emulator is not None
        self._check_version(board)
        # Boards have several serial lines; those before the UART in use are not connected. With port 0 the system
        # picks a free port.
        serial_lines = ["-serial", "null"] * board.emulator.serial_index
        if debugger is None:
            serial_lines += ["-serial", "tcp:127.0.0.1:0,server=on,wait=on,nodelay=on"]
        else:
            serial_lines += ["-serial", "null", "-S", "-gdb", "chardev:debugger"]
            serial_lines += ["-chardev", f"socket,id=debugger,fd={debugger}"]
        command = [PROGRAM, "-M", board.emulator.machine, "-kernel", str(elf), *serial_lines]
        command += ["-accel", f"tcg,tb-size={TRANSLATED_MIB}", "-icount", _ICOUNT]
        command += ["-display", "none", "-monitor", "none"]
        if counting is not None:
            library = plugin_library(self.version())
            files = f"layout={_escaped(counting.layout)},out={_escaped(counting.out)}"
            command += ["-plugin", f"{_escaped(library)},{files}"]
        return command

    def _check_version(self, board: Board) -> None:
        since = board.emulator.since if board.emulator else None
        if since is not None and (there := major_version(self.version())) < since:
            raise ToolMissingError(
                f"QEMU {there} has no {board.name}",
                where=board.id,
                fix=f"install QEMU {since} or newer (Debian: backports)",
            )

    @override
    def version(self) -> str | None:
        if shutil.which(PROGRAM) is None:
            return None
        done = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=False)
        return next(iter(done.stdout.splitlines()), "unknown version")

    @override
    def can_count(self) -> bool:
        try:
            plugin_library(self.version())
        except ToolMissingError:
            return False
        return True

    @override
    def instructions(self, ticks: int, tick_hz: int) -> int | None:
        return round(ticks * 1e9 / tick_hz / NANOSECONDS_PER_INSTRUCTION)


def major_version(line: str | None) -> int:
    """The major version in what QEMU prints about its version; 0 where there is none."""
    match = re.search(r"version (\d+)", line or "")
    return int(match[1]) if match else 0


def _escaped(path: Path) -> str:
    """Escape a path for QEMU's comma-separated options."""
    return str(path).replace(",", ",,")
