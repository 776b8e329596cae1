"""Boards as data: one TOML file for each."""

from tritguard.boards.board import (
    Board,
    DfuUpload,
    Emulator,
    OpenocdUpload,
    PlatformIO,
    PlatformioUpload,
    PyocdUpload,
    TeensyUpload,
    Uf2Upload,
    Upload,
)
from tritguard.boards.core import CoreClass, core_class, known_cores
from tritguard.boards.files import available_boards, load_board

__all__ = [
    "Board",
    "CoreClass",
    "DfuUpload",
    "Emulator",
    "OpenocdUpload",
    "PlatformIO",
    "PlatformioUpload",
    "PyocdUpload",
    "TeensyUpload",
    "Uf2Upload",
    "Upload",
    "available_boards",
    "core_class",
    "known_cores",
    "load_board",
]
