"""tritguard build: builds a firmware from a bundle."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tritguard.api import build, native_engine, tflm_engine
from tritguard.boards import load_board
from tritguard.build import Budget, Build, parse_bytes
from tritguard.build.tflm import how_to_get
from tritguard.cli.options import Trust
from tritguard.cli.terminal import console, tell
from tritguard.emit import open_bundle
from tritguard.errors import BadInputError, ToolMissingError


class EngineChoice(StrEnum):
    """What can run a model."""

    NATIVE = "native"
    TFLM = "tflm"


def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    bundle: Annotated[Path, typer.Argument(help="Folder written by 'tritguard convert'.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the firmware.")],
    board: Annotated[
        str, typer.Option("--board", "-b", help="An id, a .toml file, or pio:PLATFORM/BOARD as PlatformIO names it.")
    ] = "mps2-an386",
    max_flash: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Fail if the firmware takes more flash: 65536, 64K, 1M.")
    ] = None,
    max_ram: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Fail if static memory and stack take more RAM.")
    ] = None,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile", help="Let the firmware time its layers, for 'tritguard profile --port', and profile of tflm."
        ),
    ] = False,
    engine: Annotated[EngineChoice, typer.Option(help="What runs the model.")] = EngineChoice.NATIVE,
    tflm: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE",
            help="tflm: folder with headers and static library, as TensorFlow Lite Micro's makefile leaves them, "
            "or what PlatformIO's lib_deps takes (with @ or ://).",
        ),
    ] = None,
    arrays: Annotated[
        Path | None, typer.Option(help="tflm: folder of 'tritguard convert --to tflm'; by default made of the bundle.")
    ] = None,
    trust: Trust = False,
) -> None:
    """Build the firmware that runs a model on a board, with PlatformIO."""
    budget = Budget(
        max_flash=None if max_flash is None else parse_bytes(max_flash),
        max_ram=None if max_ram is None else parse_bytes(max_ram),
    )
    model, target = open_bundle(bundle, trust=trust), load_board(board)
    if engine is EngineChoice.NATIVE:
        _refuse({"--tflm": tflm, "--arrays": arrays}, "--engine tflm")
        chosen = native_engine(model, profile=profile)
    else:
        if tflm is None:
            raise ToolMissingError("which TensorFlow Lite Micro?", where="--engine tflm", fix=how_to_get(target))
        with console.status("Trying the model in TensorFlow Lite Micro"):
            chosen = tflm_engine(model, target, tflm, arrays, trust=trust, profile=profile)
    with console.status("Building the firmware"):
        built = build(model, out, board=target, engine=chosen, budget=budget)
    tell(built.record)
    describe(built, budget)


def _refuse(options: dict[str, object], owner: str) -> None:
    for name, value in options.items():
        if value:
            raise BadInputError(f"belongs to {owner}", where=name)


def outline(built: Build) -> None:
    """Print flash and RAM of what was built, in one line."""
    sizes = built.record.sizes
    console.print(
        f"{built.elf}: {sizes.flash_total:,} B flash, {sizes.ram_static:,} B static RAM",
        soft_wrap=True,
    )


def describe(built: Build, budget: Budget) -> None:
    """Print what was built, in a few lines, beside what the board has and what was allowed."""
    board, sizes = built.record.board, built.record.sizes
    flash, ram = ("" if most is None else f", {most:,} B allowed" for most in (budget.max_flash, budget.max_ram))
    groups = ", ".join(f"{name} {size:,}" for name, size in sizes.flash_groups.items())
    console.print(
        f"{built.path}: firmware for {board.name}\n"
        f"flash {sizes.flash_total:,} of {board.memory.flash.bytes:,} B{flash} ({groups})\n"
        f"RAM {sizes.ram_static:,} B, {sizes.ram_arena:,} of them arena, and {sizes.stack_reserved:,} B stack, "
        f"of {board.memory.ram.bytes:,} B{ram}",
        soft_wrap=True,
    )
