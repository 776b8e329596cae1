"""tritguard worker: crafts, or lends boards, for campaigns on other machines."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from tritguard.build import open_build
from tritguard.campaign.boards import CRAFTS, hold
from tritguard.campaign.dask import serve
from tritguard.cli.options import Trust
from tritguard.cli.terminal import say
from tritguard.device import open_device
from tritguard.emit import open_bundle
from tritguard.errors import BadInputError


def command(
    address: Annotated[str, typer.Argument(help="The scheduler's address, as 'dask scheduler' prints it.")],
    bundle: Annotated[Path | None, typer.Option(help="Lend boards: the bundle of their firmware.")] = None,
    build: Annotated[Path | None, typer.Option(help="Lend boards: the folder of their firmware.")] = None,
    ports: Annotated[
        list[str] | None, typer.Option("--port", "-p", help="Where a board is that runs it; may be repeated.")
    ] = None,
    boards: Annotated[int, typer.Option(min=1, help="Without a port: emulated boards to start.")] = 1,
    trust: Trust = False,
) -> None:
    """Work for a Dask scheduler: craft in one process, or lend boards. It may send any code: know who reaches it."""
    if (bundle is None) != (build is None):
        raise BadInputError("--bundle and --build belong together", fix="give both to lend boards, none to craft")
    with ExitStack() as stack:
        resources = {CRAFTS: 1.0}
        if bundle is not None and build is not None:
            opened, firmware = open_bundle(bundle, trust=trust), open_build(build)
            places: list[str | None] = [*ports] if ports else [None] * boards
            resources = hold([stack.enter_context(open_device(opened, firmware, port)) for port in places])
        serve(address, resources, lambda worker: say(f"working as {worker}: {_shown(resources)}"))


def _shown(resources: Mapping[str, float]) -> str:
    """What a worker offers, with how many of it where that is more than one."""
    return ", ".join(name if count == 1 else f"{count:g} times {name}" for name, count in resources.items())
