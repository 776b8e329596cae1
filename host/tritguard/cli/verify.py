"""tritguard verify: checks an evidence folder, from whomever, without running anything in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tritguard.api.evidence_folder import Repetition, repeat, verify
from tritguard.cli.progress import stages
from tritguard.cli.terminal import console, say, tell
from tritguard.report.evidence.manifest import SIGNATURE


def command(
    folder: Annotated[Path, typer.Argument(help="Folder written by 'tritguard evidence'.")],
    again: Annotated[
        int, typer.Option("--repeat", metavar="N", min=0, help="Ask the firmware, made again, for N of the samples.")
    ] = 0,
    port: Annotated[
        str | None, typer.Option(help="With --repeat: serial port of a board that runs this firmware.")
    ] = None,
    signers: Annotated[
        Path | None, typer.Option(help="An allowed_signers file: one of them has to have signed the folder.")
    ] = None,
    identity: Annotated[str | None, typer.Option(help="Which of them.")] = None,
) -> None:
    """Compute an evidence folder's hashes again, and the figures that follow from its samples, and name what changed.

    Exit code 1: something is not as it was filed. 2: evidence.json cannot be read. 5: the firmware gives other bytes.
    """
    with console.status("Checking"):
        manifest, changes, unlike, hashed = verify(folder, signers=signers, identity=identity)
    for change in changes:
        say(f"CHANGED  {change}")
    if changes:
        tell({"changed": changes})
        say(f"{folder} is not as it was filed: {len(changes)} findings")
        raise typer.Exit(1)
    signed = "signed; give --signers to know by whom" if (folder / SIGNATURE).is_file() else "not signed"
    signed = f"signed by {identity}" if signers is not None else signed
    counted = "every figure that follows from the samples"
    say(f"{len(manifest.files)} files and {counted} are as they were filed; {signed}; title: {manifest.title}")
    if unlike:
        say(f"NOT compared with the results (written by another tritguard): {', '.join(unlike)}")
    if hashed:
        say(f"only their hashes were compared: {', '.join(hashed)}")
    repeated = _repeated(folder, again, port) if again else None
    tell({"changed": [], "not_compared": unlike, "hashes_only": hashed, "repeated": repeated})
    if repeated is not None and repeated.mismatched:
        raise typer.Exit(5)


def _repeated(folder: Path, count: int, port: str | None) -> Repetition:
    with stages() as named:
        found = repeat(folder, count, port=port, stages=named)
    code = "from the same C" if found.same_code else "from other C: this is another version of tritguard"
    for index in found.mismatched:
        say(f"DIFFERS  sample {index}: other bytes than the folder has")
    what = f"{found.samples} samples asked again, {found.bytes_compared:,} bytes"
    say(f"{what}, {code}: {len(found.mismatched)} differ")
    return found
