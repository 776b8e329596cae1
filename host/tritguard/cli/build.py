"""tritguard build: a bundle becomes a firmware."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tritguard.boards import load_board
from tritguard.build import Build
from tritguard.build import build as build_firmware
from tritguard.cli.progress import console
from tritguard.emit import open_bundle


def command(
    bundle: Annotated[Path, typer.Argument(help="Folder written by 'tritguard convert'.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the firmware.")],
    board: Annotated[str, typer.Option("--board", "-b", help="A board's id, or its .toml file.")] = "mps2-an386",
) -> None:
    """Build the firmware that runs a model on a board, with PlatformIO."""
    describe(build(bundle, board, out))


def build(bundle: Path, board: str, out: Path) -> Build:
    """The verb without its last lines; see `tritguard.build.build` for what it raises."""
    with console.status("Building the firmware"):
        return build_firmware(open_bundle(bundle), load_board(board), out)


def describe(built: Build) -> None:
    """What was built, in a few lines."""
    board, sizes = built.record.board, built.record.sizes
    groups = ", ".join(f"{name} {size:,}" for name, size in sizes.flash_groups.items())
    console.print(
        f"{built.path}: firmware for {board.name}\n"
        f"flash {sizes.flash_total:,} of {board.memory.flash.bytes:,} B ({groups})\n"
        f"RAM {sizes.ram_static:,} B, {sizes.ram_arena:,} of them arena, and {sizes.stack_reserved:,} B stack, "
        f"of {board.memory.ram.bytes:,} B",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
