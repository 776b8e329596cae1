"""Boards as data: one TOML file for each."""

from tritguard.boards.board import Board, DfuUpload, Emulator, OpenocdUpload
from tritguard.boards.core import CoreClass, core_class, known_cores
from tritguard.boards.files import available_boards, load_board

__all__ = [
    "Board",
    "CoreClass",
    "DfuUpload",
    "Emulator",
    "OpenocdUpload",
    "available_boards",
    "core_class",
    "known_cores",
    "load_board",
]
