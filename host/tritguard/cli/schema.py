"""tritguard schema: prints or writes the JSON Schemas of the files that tritguard writes and reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tritguard.api.schemas import READ, WRITTEN, schema, write_schemas
from tritguard.cli.terminal import console, print_json, tell
from tritguard.errors import BadInputError


def command(
    name: Annotated[str | None, typer.Argument(help="Which one to print; without it, their names.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write all of them into this folder.")] = None,
) -> None:
    """Print the JSON Schema of a kind of file, for editors and for those who read results."""
    if name is not None and out is not None:
        raise BadInputError("--out writes all of them", where=name, fix="leave one of the two out")
    if name is not None:
        print_json(schema(name).rstrip("\n"))
    elif out is not None:
        paths = write_schemas(out)
        tell({"files": paths})
        for path in paths:
            console.print(str(path), soft_wrap=True)
    else:
        tell({"written": list(WRITTEN), "read": list(READ)})
        console.print("written by tritguard:  " + ", ".join(WRITTEN), soft_wrap=True)
        console.print("written for it (TOML): " + ", ".join(READ), soft_wrap=True)
