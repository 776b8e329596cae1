"""tritguard evidence: writes what a run found as a folder to file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tritguard.api.evidence_folder import evidence
from tritguard.cli.options import Trust
from tritguard.cli.terminal import console, say, tell
from tritguard.report.evidence.manifest import SIGNATURE


def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    run: Annotated[Path, typer.Argument(metavar="RUN_DIR|RESULT.json", help="The folder of a run, or its result.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write.")],
    bundle: Annotated[
        Path | None, typer.Option(help="The bundle that was evaluated; by default bundle in the run's folder.")
    ] = None,
    build: Annotated[
        Path | None, typer.Option(help="The build that answered; by default build in the run's folder.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", help="What it was attacked with; by default what the run's configuration says."),
    ] = None,
    hashes_only: Annotated[
        bool, typer.Option("--hashes-only", help="Leave model, firmware and inputs out; their hashes stay.")
    ] = False,
    sign: Annotated[Path | None, typer.Option(help="A key of OpenSSH's to sign the folder with.")] = None,
    trust: Trust = False,
    pdf: Annotated[bool, typer.Option(help="Print the report as PDF too; needs the extra 'pdf'.")] = True,
) -> None:
    """Write the evidence of a run as a folder to file, with the terms of laws and standards that it speaks to."""
    with console.status("Writing the evidence"):
        written = evidence(
            run, out, bundle=bundle, firmware=build, data=data, hashes_only=hashes_only, key=sign, pdf=pdf, trust=trust
        )
    tell(written)
    say(f"{len(written.files)} files of {written.title}")
    for one in written.left_out:
        say(f"left out: {one.what} ({one.why})")
    if sign is not None:
        say(f"signed: {out / SIGNATURE}")
    console.print(f"evidence: {out}\ncheck it with: tritguard verify {out}", soft_wrap=True)
