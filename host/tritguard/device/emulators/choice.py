"""The emulators there are, and which one a board has."""

from __future__ import annotations

from tritguard.boards import Board
from tritguard.device.emulators.interface import Emulator
from tritguard.device.emulators.qemu import Qemu
from tritguard.device.emulators.rp2040js import Rp2040js
from tritguard.errors import BadInputError

_EMULATORS: dict[str, Emulator] = {"qemu": Qemu(), "rp2040js": Rp2040js()}


def emulator_of(board: Board) -> Emulator:
    """The emulator of a board.

    Raises:
        BadInputError: it has none.
    """
    if board.emulator is None:
        raise BadInputError("this board has no emulator", where=board.id, fix="connect a real one and name its port")
    return _EMULATORS[board.emulator.program]


def emulator_version(board: Board) -> str:
    """The version of a board's emulator, in words.

    Raises:
        BadInputError: the board has none.
    """
    return emulator_of(board).version() or "unknown version"
