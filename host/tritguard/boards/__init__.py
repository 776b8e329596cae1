"""Boards: what a board is, as data. One TOML a board."""

from tritguard.boards.board import Board, DfuUpload, Emulator, OpenocdUpload
from tritguard.boards.files import available_boards, load_board

__all__ = ["Board", "DfuUpload", "Emulator", "OpenocdUpload", "available_boards", "load_board"]
