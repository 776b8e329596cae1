"""What every emulator offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from tritguard.boards import Board
from tritguard.errors import DeviceError


class EmulatorError(DeviceError):
    """The emulator itself does not start."""


@dataclass(frozen=True)
class Counting:
    """A request to count instructions while the firmware runs.

    Attributes:
        layout: the file that says where counting changes, with lines "ADDRESS BUCKET", in hex and decimal. Running the
            instruction at ADDRESS enters BUCKET; what runs in bucket 0 is not counted.
        out: the file for the counts, written each time bucket 0 is entered, with lines "BUCKET RUNS TAKEN FIRST SIZES"
            for straight pieces of code, as host/qemu-plugin/count.c describes them.
    """

    layout: Path
    out: Path


class Emulator(ABC):
    """A program that emulates boards.

    It prints `waiting for connection on: HOST:PORT` to stderr once the board's serial line can be opened there, and
    the board runs from the first connection on.

    Attributes:
        name: as a board's `emulator.program` has it, and as messages name it.
        has_debugger: whether it can serve its GDB stub on a socket, which the bulk line takes.
        cycles_method: how it times instructions, if its timers count estimated cycles; None if they count instructions.
        slowest_hz: the fewest core cycles that it runs per second on a busy machine; None if it keeps up with boards.
    """

    name: str
    has_debugger: bool
    cycles_method: str | None
    slowest_hz: int | None

    @abstractmethod
    def command(self, board: Board, elf: Path, counting: Counting | None, debugger: int | None) -> list[str]:
        """The command line that boots a firmware.

        Args:
            board: a board with an `[emulator]` table for this program.
            elf: the firmware.
            counting: what to count, if anything.
            debugger: the file descriptor of a socket for the GDB stub; the board then has no serial line.

        Raises:
            ToolMissingError: the program, or what it needs to count, is not installed.
        """

    @abstractmethod
    def version(self) -> str | None:
        """The program's version in words, or None if it is not installed."""

    @abstractmethod
    def can_count(self) -> bool:
        """Whether it can count instructions on this machine."""

    @abstractmethod
    def instructions(self, ticks: int, tick_hz: int) -> int | None:
        """Convert ticks of a rate in Hz to instructions; None if its timers count something else."""
