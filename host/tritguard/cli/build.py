"""tritguard build: a bundle becomes a firmware."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tritguard.boards import load_board
from tritguard.build import Budget, Build, parse_bytes
from tritguard.build import build as build_firmware
from tritguard.build.engine import native_engine
from tritguard.cli.progress import console
from tritguard.emit import open_bundle


def command(
    bundle: Annotated[Path, typer.Argument(help="Folder written by 'tritguard convert'.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the firmware.")],
    board: Annotated[str, typer.Option("--board", "-b", help="A board's id, or its .toml file.")] = "mps2-an386",
    max_flash: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Fail if the firmware takes more flash: 65536, 64K, 1M.")
    ] = None,
    max_ram: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Fail if static memory and stack take more RAM.")
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Let the firmware time its layers, for 'tritguard profile --port'.")
    ] = False,
) -> None:
    """Build the firmware that runs a model on a board, with PlatformIO."""
    budget = Budget(
        max_flash=None if max_flash is None else parse_bytes(max_flash),
        max_ram=None if max_ram is None else parse_bytes(max_ram),
    )
    with console.status("Building the firmware"):
        opened = open_bundle(bundle)
        engine = native_engine(opened, profile=profile)
        built = build_firmware(opened, load_board(board), out, engine=engine, budget=budget)
    describe(built)


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
