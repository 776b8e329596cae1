"""tritguard selftest: proves in a minute that a board does what it has to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tritguard.api import open_build, selftest
from tritguard.cli.options import BenchFile, Trust
from tritguard.cli.terminal import console, say, tell
from tritguard.device import read_bench
from tritguard.emit import open_bundle
from tritguard.errors import BadInputError
from tritguard.evaluate.selftest import Check

_RECORD = "selftest.json"


def command(
    build: Annotated[Path, typer.Argument(help="Folder written by 'tritguard build', which the board runs.")],
    port: Annotated[
        str | None,
        typer.Option("--port", "-p", help="Serial port of the board, or 'auto'; without it the emulated one is used."),
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Folder of the bundle; by default 'bundle' beside the build.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help=f"File of the record; by default {_RECORD} beside the build.")
    ] = None,
    bench: BenchFile = None,
    trust: Trust = False,
) -> None:
    """Try a board: its line, its memory, its bytes against the twin's, its timing; leaves a sealed record."""
    built = open_build(build)
    beside = build.resolve().parent
    place = beside / "bundle" if bundle is None else bundle
    if bundle is None and not place.is_dir():
        raise BadInputError("no bundle beside the build", where=str(place), fix="name it with --bundle")
    record = beside / _RECORD if out is None else out
    opened = open_bundle(place, trust=trust)
    found = selftest(opened, built, record, port=port, bench=read_bench(bench), note=_show)
    tell(found)
    where = f"emulated by {found.emulator}" if found.emulator else "a real board"
    say(f"{found.board.name}, {where}: {'all checks passed' if found.passed else 'NOT ALL CHECKS PASSED'}")
    say(f"record: {record}, seal {found.seal}")
    if not found.passed:
        raise typer.Exit(5 if found.mismatched else 4)


def _show(check: Check) -> None:
    console.print("passed" if check.passed else "FAILED", style="green" if check.passed else "bold red", end=" ")
    say(f"{check.name}: {check.seen}")
