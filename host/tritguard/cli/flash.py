"""tritguard flash: puts a firmware on its board."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tritguard.api.flashing import flash, methods
from tritguard.build import Build, open_build
from tritguard.cli.options import BenchFile
from tritguard.cli.terminal import console, say, tell
from tritguard.device import Bench, EmulatedBoard, Hello, emulator_of, identify, read_bench
from tritguard.errors import BadInputError

_EMULATOR = "emulator"


def command(
    build: Annotated[Path, typer.Argument(help="Folder written by 'tritguard build'.")],
    port: Annotated[
        str | None,
        typer.Option(
            "--port", "-p", help="Serial port of a real board, or 'auto'; it is asked who it is once flashed."
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="emulator, platformio, openocd, dfu, pyocd, uf2, teensy, or bench; METHOD:PROTOCOL if the board has "
            "several. By default the board's first; the emulator only where no port is given."
        ),
    ] = None,
    stay: Annotated[
        bool, typer.Option("--stay", help="Keep the emulated board running until Ctrl-C; other verbs take its port.")
    ] = False,
    bench: BenchFile = None,
) -> None:
    """Put a firmware on its board, or boot it on the emulated one, and see that it answers."""
    built = open_build(build)
    hooks = read_bench(bench)
    if wants_emulator(built, method, port, hooks):
        _emulate(built, stay)
    elif stay:
        raise BadInputError("--stay is for the emulator alone")
    else:
        _flash(built, method, port, hooks)


def wants_emulator(built: Build, method: str | None, port: str | None, bench: Bench | None) -> bool:
    """Whether the firmware goes to the emulated board.

    Raises:
        BadInputError: the emulator is asked for, and the board has none or a port is given.
    """
    board = built.record.board
    real = port is not None or bench is not None
    if method is None:
        return board.emulator is not None and not real
    if method != _EMULATOR:
        return False
    if board.emulator is None or real:
        where = f"{board.id} at a port" if real else board.id
        raise BadInputError(f"no method {method}", where=where, fix=f"it has {', '.join(methods(built)) or 'none'}")
    return True


def _emulate(built: Build, stay: bool) -> None:
    with EmulatedBoard(built.record.board, built.elf) as emulated:
        console.print("EMULATED", style="bold yellow", end="")
        console.print(f": booted in {emulator_of(built.record.board).name}; no board was programmed")
        hello = identify(emulated.url, built)
        tell({"board": built.record.board.id, "emulated": True, "port": emulated.url if stay else None, "hello": hello})
        describe(hello)
        if stay:
            for line in ("running until Ctrl-C; other verbs reach it with", f"--port {emulated.url}"):
                console.print(line, soft_wrap=True)
            try:
                emulated.wait()
            except KeyboardInterrupt:
                console.print("stopped")


def _flash(built: Build, method: str | None, port: str | None, bench: Bench | None) -> None:
    with console.status("Flashing"):
        found = flash(built, method=method, port=port, bench=bench, note=say)
    at, said = (None, None) if found is None else found
    tell({"board": built.record.board.id, "emulated": False, "port": at, "hello": said})
    console.print(f"flashed {built.record.board.name}", soft_wrap=True)
    if found is None:
        console.print("not asked who it is: give --port for that")
        return
    place, hello = found
    if place != port:
        console.print(f"it is at --port {place}", soft_wrap=True)
    describe(hello)


def describe(hello: Hello) -> None:
    """Print what the board says about itself, in a few lines."""
    console.print(
        f"{hello.board} answers: {hello.engine} engine at {hello.clock_hz / 1e6:g} MHz\n"
        f"model    {hello.model_sha256}\n"
        f"build id {hello.build_id}\n"
        f"{hello.inputs} inputs, {hello.outputs} outputs, {hello.logits} logits; last fault: {hello.fault}\n"
        f"{hello.facts}",
        soft_wrap=True,
    )
