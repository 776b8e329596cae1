"""Emulates boards with QEMU: the same ELF and the same serial bytes, with time counted in instructions."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Self

from tritguard.boards import Board
from tritguard.errors import BadInputError, DeviceError, ToolMissingError

QEMU = "qemu-system-arm"
NANOSECONDS_PER_INSTRUCTION = 64
_ICOUNT = "shift=6,sleep=off"  # each instruction takes 2**6 ns of guest time, however fast the host is
_START_SECONDS = 20.0
_LISTENING = re.compile(r"waiting for connection on: \S*:(\d+)")


class EmulatorError(DeviceError):
    """QEMU itself does not start."""


class EmulatedBoard:
    """A board emulated by QEMU. It runs from the moment its `url` is opened until `close`, and is a context manager.

    QEMU ends when this process ends; on Linux even if this process is killed.

    Args:
        board: a board with an `[emulator]` table.
        elf: the firmware.
        plugin: a QEMU plugin to load, with its arguments: `library.so,name=value,...`.
        debugger: a socket for QEMU's GDB stub, which may be closed afterwards. The board then has no serial line, and
            its core waits at reset. A pair of sockets has no name, so no other process can connect to it.

    Attributes:
        url: the serial line, for pyserial. It can be closed and opened again while the board keeps running. With a
            debugger: the name of the board, for messages.

    Raises:
        BadInputError: the board has no emulator.
        ToolMissingError: QEMU is not installed.
        EmulatorError: QEMU does not start.
    """

    def __init__(
        self, board: Board, elf: Path, plugin: str | None = None, *, debugger: socket.socket | None = None
    ) -> None:
        if board.emulator is None:
            raise BadInputError(
                "this board has no emulator", where=board.id, fix="connect a real one and name its port"
            )
        if shutil.which(QEMU) is None:
            raise ToolMissingError(f"{QEMU} is not installed", fix="on Debian or Ubuntu: apt install qemu-system-arm")
        # Boards have several serial lines; those before the UART in use are not connected. With port 0 the system
        # picks a free port.
        serial_lines = ["-serial", "null"] * board.emulator.serial_index
        if debugger is None:
            serial_lines += ["-serial", "tcp:127.0.0.1:0,server=on,wait=on,nodelay=on"]
        else:
            serial_lines += ["-serial", "null", "-S", "-gdb", "chardev:debugger"]
            serial_lines += ["-chardev", f"socket,id=debugger,fd={debugger.fileno()}"]
        command = [QEMU, "-M", board.emulator.machine, "-kernel", str(elf), *serial_lines]
        command += ["-icount", _ICOUNT, "-display", "none", "-monitor", "none"]
        if plugin is not None:
            command += ["-plugin", plugin]
        self._messages: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - stays open while QEMU writes to it
        leash, self._leash = os.pipe()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=leash,
                stdout=subprocess.DEVNULL,
                stderr=self._messages,
                pass_fds=() if debugger is None else (debugger.fileno(),),
            )
            _kill_when_let_go(leash, self._process.pid)
        finally:
            os.close(leash)
        atexit.register(self.close)
        try:
            self.url = f"socket://127.0.0.1:{self._wait_for_port()}" if debugger is None else f"emulated {board.id}"
        except BaseException:
            self.close()
            raise

    @property
    def process_id(self) -> int:
        """The process id of QEMU."""
        return self._process.pid

    def exited(self) -> EmulatorError:
        """Return the error for a QEMU that exited while it started."""
        first = next(iter(self._read_messages().splitlines()), "no message")
        return EmulatorError(f"QEMU exited at once ({first})", fix="check the installation with 'tritguard doctor'")

    def wait(self) -> None:
        """Wait until QEMU ends."""
        self._process.wait()

    def close(self) -> None:
        """Kill QEMU."""
        atexit.unregister(self.close)
        self._process.kill()
        self._process.wait()
        if not self._messages.closed:
            self._messages.close()
            os.close(self._leash)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait_for_port(self) -> int:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            ended = self._process.poll() is not None
            if match := _LISTENING.search(self._read_messages()):
                return int(match[1])
            if ended:
                raise self.exited()
            time.sleep(0.005)
        raise EmulatorError(
            f"QEMU did not start within {_START_SECONDS:.0f} s", fix="check the installation with 'tritguard doctor'"
        )

    def _read_messages(self) -> str:
        self._messages.seek(0)
        return self._messages.read().decode(errors="replace")


def _kill_when_let_go(leash: int, process_id: int) -> None:
    """Let the kernel kill a process as soon as no other process holds the write end of a pipe.

    PR_SET_PDEATHSIG does not fit, as it kills already when the thread that started the process ends.

    Args:
        leash: the pipe's read end, which the process holds too.
        process_id: the process to kill.
    """
    if sys.platform == "linux":
        from fcntl import F_GETFL, F_SETFL, F_SETOWN, F_SETSIG, fcntl  # noqa: PLC0415 - not on every system

        fcntl(leash, F_SETSIG, signal.SIGKILL)
        fcntl(leash, F_SETOWN, process_id)
        fcntl(leash, F_SETFL, fcntl(leash, F_GETFL) | os.O_ASYNC)


def emulator_version() -> str | None:
    """Return the version line that QEMU prints, or None if QEMU is not installed."""
    if shutil.which(QEMU) is None:
        return None
    done = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=False)
    return next(iter(done.stdout.splitlines()), "unknown version")
