"""rp2040js, an emulator of the Raspberry Pi Pico from npm, run by Node through rp2040js.mjs beside this file."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from typing_extensions import override

from tritguard.boards import Board
from tritguard.device.emulators.interface import Counting, Emulator
from tritguard.errors import ToolMissingError

NODE = "node"
PACKAGE = "rp2040js"
VERSION = "1.4.1"  # the version that was tried
_SCRIPT = Path(__file__).with_suffix(".mjs")


def how_to_install() -> str:
    """The command that installs the package into this Python's environment."""
    return f"npm install --global --prefix {sys.prefix} {PACKAGE}@{VERSION}, with Node 18 or newer"


class Rp2040js(Emulator):
    """An emulator of the whole chip: clocks, UART and interrupts. Its timers count the cycles of its own timing."""

    name = PACKAGE
    has_debugger = False
    cycles_method = f"{PACKAGE}'s own timing of each instruction, without waiting for flash"
    slowest_hz = 100_000

    @override
    def command(self, board: Board, elf: Path, counting: Counting | None, debugger: int | None) -> list[str]:
        folder = _folder()
        if shutil.which(NODE) is None or folder is None:
            what = PACKAGE if shutil.which(NODE) else NODE
            raise ToolMissingError(f"{what} is not installed", fix=how_to_install())
        assert board.emulator is not None
        files = [] if counting is None else [str(counting.layout), str(counting.out)]
        return [NODE, str(_SCRIPT), str(folder), str(elf), str(board.emulator.serial_index), *files]

    @override
    def version(self) -> str | None:
        folder = _folder()
        if folder is None or shutil.which(NODE) is None:
            return None
        return f"{PACKAGE} {json.loads((folder / 'package.json').read_bytes()).get('version', 'of unknown version')}"

    @override
    def can_count(self) -> bool:
        return self.version() is not None

    @override
    def instructions(self, ticks: int, tick_hz: int) -> int | None:
        return None


def _folder() -> Path | None:
    """Where the package lies: in NODE_PATH, in this Python's environment, or beside Node."""
    node = shutil.which(NODE)
    places = [Path(place) for place in os.environ.get("NODE_PATH", "").split(os.pathsep) if place]
    places.append(Path(sys.prefix) / "lib" / "node_modules")
    if node is not None:
        places += [Path(node).parents[1] / "lib" / "node_modules", Path(node).resolve().parents[1] / "lib/node_modules"]
    return next((place / PACKAGE for place in places if (place / PACKAGE / "package.json").is_file()), None)
