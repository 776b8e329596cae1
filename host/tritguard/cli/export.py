"""tritguard export: turns a bundle into a library for the user's own project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tritguard.cli.options import Trust
from tritguard.cli.terminal import console, tell
from tritguard.emit import open_bundle
from tritguard.export import TARGETS, ExportManifest
from tritguard.export import export as export_bundle


def command(
    bundle: Annotated[Path, typer.Argument(help="Folder written by 'tritguard convert'.")],
    to: Annotated[str, typer.Option(help=f"What to export to: {', '.join(TARGETS)}.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the export.")],
    prefix: Annotated[
        str | None, typer.Option(help="What every C name starts with; by default made from the model's name.")
    ] = None,
    trust: Trust = False,
) -> None:
    """Turn a model into a library for your own project: PlatformIO, CMake, Zephyr, Arduino or a single header."""
    manifest = export_bundle(open_bundle(bundle, trust=trust), to, out, prefix=prefix)
    tell(manifest)
    describe(manifest, out)


def describe(manifest: ExportManifest, out: Path) -> None:
    """Print what was written, in two lines."""
    size = sum((out / name).stat().st_size for name in manifest.files if name.endswith((".c", ".h")))
    console.print(
        f"{out}: {manifest.model} for {manifest.target}, {size:,} B of source\n"
        f"call {manifest.prefix}_model_run of {manifest.prefix}_model.h; README.md says how to build it",
        soft_wrap=True,
    )
