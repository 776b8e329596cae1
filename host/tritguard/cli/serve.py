"""tritguard serve: shows the runs of a folder as local pages."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from tritguard.cli.terminal import console
from tritguard.serve.server import serve


def command(
    folder: Annotated[Path, typer.Argument(help="Its runs are shown, and those in its folders.")] = Path(),
    port: Annotated[int, typer.Option("--port", "-p", min=0, max=65535, help="0: any port that is free.")] = 0,
    browse: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Show runs under way and done, compare them, and see their boards, in the browser; for this machine alone."""

    def ready(address: str) -> None:
        console.print(f"{address}\nCtrl-C ends it", soft_wrap=True)
        if browse:
            webbrowser.open(address)

    serve(folder.resolve(), port, ready)
