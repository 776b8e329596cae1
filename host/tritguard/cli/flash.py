"""tritguard flash: puts a firmware on its board."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tritguard.boards import Board
from tritguard.build import Build, open_build
from tritguard.cli.boards import ways
from tritguard.cli.terminal import console
from tritguard.device import EmulatedBoard, Hello, identify, upload
from tritguard.errors import BadInputError


class Method(StrEnum):
    """How a firmware gets onto a board."""

    OPENOCD = "openocd"
    DFU = "dfu"
    EMULATOR = "emulator"


def command(
    build: Annotated[Path, typer.Argument(help="Folder written by 'tritguard build'.")],
    port: Annotated[
        str | None,
        typer.Option("--port", "-p", help="Serial port of a real board, which is asked who it is once flashed."),
    ] = None,
    method: Annotated[
        Method | None, typer.Option(help="By default the board's first; the emulator only where no port is given.")
    ] = None,
    stay: Annotated[
        bool, typer.Option("--stay", help="Keep the emulated board running until Ctrl-C; other verbs take its port.")
    ] = False,
) -> None:
    """Put a firmware on its board, or boot it on the emulated one, and see that it answers."""
    built = open_build(build)
    chosen = choose(built.record.board, method, port)
    if chosen is Method.EMULATOR:
        _emulate(built, stay)
    elif stay:
        raise BadInputError("--stay is for the emulator alone")
    else:
        _flash(built, chosen, port)


def choose(board: Board, method: Method | None, port: str | None) -> Method:
    """Choose the method to flash with.

    Raises:
        BadInputError: the board has no such method.
    """
    known = [Method(way) for way in ways(board)]
    if port is not None:
        known = [way for way in known if way is not Method.EMULATOR]
    if method is None and known:
        return known[0]
    if port is not None and not known:
        what = "is emulated only, so nothing can be flashed to a board at a port"
        raise BadInputError(what, where=board.id, fix="leave --port out: the emulated board is started")
    if method not in known:
        wanted = f"no method {method}" if method else "no method"
        where = f"{board.id} at a port" if port else board.id
        raise BadInputError(wanted, where=where, fix=f"it has {', '.join(known) or 'none'}")
    return method


def _emulate(built: Build, stay: bool) -> None:
    with EmulatedBoard(built.record.board, built.elf) as emulated:
        console.print("[bold yellow]EMULATED[/]: booted in QEMU; no board was programmed", markup=True)
        describe(identify(emulated.url, built))
        if stay:
            for line in ("running until Ctrl-C; other verbs reach it with", f"--port {emulated.url}"):
                console.print(line, soft_wrap=True)
            try:
                emulated.wait()
            except KeyboardInterrupt:
                console.print("stopped")


def _flash(built: Build, method: Method, port: str | None) -> None:
    way = next(way for way in built.record.board.upload if way.method == method)
    with console.status(f"Flashing with {method}"):
        upload(built, way)
    console.print(f"flashed {built.record.board.name} with {method}", soft_wrap=True)
    if port is None:
        console.print("not asked who it is: give --port for that")
    else:
        describe(identify(port, built))


def describe(hello: Hello) -> None:
    """Print what the board says about itself, in a few lines."""
    console.print(
        f"{hello.board} answers: {hello.engine} engine at {hello.clock_hz / 1e6:g} MHz\n"
        f"model    {hello.model_sha256}\n"
        f"build id {hello.build_id}\n"
        f"{hello.inputs} inputs, {hello.outputs} outputs, {hello.logits} logits; last fault: {hello.fault}",
        soft_wrap=True,
    )
