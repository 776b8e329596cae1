"""tritguard profile: shows where the time of an inference goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tritguard.build import open_build
from tritguard.cli.terminal import console, tell
from tritguard.emit import open_bundle
from tritguard.files import write_whole
from tritguard.profile import profile
from tritguard.report.profile import page, table

JSON = "profile.json"
PAGE = "profile.html"


def command(
    bundle: Annotated[Path, typer.Argument(help="Folder written by 'tritguard convert'.")],
    build: Annotated[Path, typer.Argument(help="Folder written by 'tritguard build'.")],
    port: Annotated[
        str | None,
        typer.Option("--port", "-p", help="Serial port of a real board, or 'auto', flashed with a --profile build."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help=f"Folder for {JSON} and {PAGE}; if not given, nothing is written."),
    ] = None,
) -> None:
    """Say how long each layer takes on the device: exact instructions on an emulated board, ticks on a real one."""
    opened = open_bundle(bundle)
    opened.manifest.check_single()
    built = open_build(build)
    with console.status("Profiling"):
        found = profile(opened, built, port)
    tell(found)
    console.print(table(found))
    if out is not None:
        write_whole(out / JSON, found.model_dump_json(indent=2) + "\n")
        write_whole(out / PAGE, page(found))
        console.print(f"profile: {out / PAGE}", soft_wrap=True)
