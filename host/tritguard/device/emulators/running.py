"""A board that an emulator runs, as a process of its own."""

from __future__ import annotations

import atexit
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Self

from tritguard.boards import Board
from tritguard.device.emulators.choice import emulator_of
from tritguard.device.emulators.interface import Counting, EmulatorError
from tritguard.device.emulators.started import Started

_START_SECONDS = 20.0
_LISTENING = re.compile(r"waiting for connection on: \S*:(\d+)")


class EmulatedBoard:
    """An emulated board. It runs from the moment its `url` is opened until `close`, and is a context manager.

    The emulator ends when this process ends; on Linux even if this process is killed.

    Args:
        board: a board with an `[emulator]` table.
        elf: the firmware.
        counting: what instructions to count, if any.
        debugger: a socket for the emulator's GDB stub, which may be closed afterwards. The board then has no serial
            line, and its core waits at reset. A pair of sockets has no name, so no other process can connect to it.

    Attributes:
        url: the serial line, for pyserial. It can be closed and opened again while the board keeps running. With a
            debugger: the name of the board, for messages.

    Raises:
        BadInputError: the board has no emulator.
        ToolMissingError: the emulator is not installed.
        EmulatorError: the emulator does not start.
    """

    def __init__(
        self, board: Board, elf: Path, counting: Counting | None = None, *, debugger: socket.socket | None = None
    ) -> None:
        self._emulator = emulator_of(board)
        command = self._emulator.command(board, elf, counting, None if debugger is None else debugger.fileno())
        self._messages: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - stays open while the emulator writes
        self._started: Started | None = None
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
            if debugger is None:
                self.url = f"socket://127.0.0.1:{self._wait_for_port()}"
                self._started = Started(self.url)
            else:
                self.url = f"emulated {board.id}"
        except BaseException:
            self.close()
            raise

    @property
    def process_id(self) -> int:
        """The process id of the emulator."""
        return self._process.pid

    def exited(self) -> EmulatorError:
        """Return the error for an emulator that exited while it started."""
        first = next(iter(self._read_messages().splitlines()), "no message")
        return EmulatorError(
            f"{self._emulator.name} exited at once ({first})", fix="check the installation with 'tritguard doctor'"
        )

    def wait(self) -> None:
        """Wait until the emulator ends."""
        self._process.wait()

    def close(self) -> None:
        """Kill the emulator."""
        atexit.unregister(self.close)
        self._process.kill()
        self._process.wait()
        if self._started is not None:
            self._started.forget()
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
            f"{self._emulator.name} did not start within {_START_SECONDS:.0f} s",
            fix="check the installation with 'tritguard doctor'",
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
