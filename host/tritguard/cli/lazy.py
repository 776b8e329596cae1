"""The verbs, each imported when it is called: help and a wrong verb are answered without NumPy and pydantic."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typing_extensions import override

from tritguard.heavy_imports import heavy_imports

VERBS = (
    "init",
    "run",
    "data",
    "train",
    "convert",
    "export",
    "build",
    "flash",
    "selftest",
    "monitor",
    "profile",
    "evaluate",
    "energy",
    "attack",
    "corruptions",
    "sound",
    "worker",
    "certify",
    "transfer",
    "faults",
    "privacy",
    "report",
    "compare",
    "serve",
    "evidence",
    "verify",
    "boards",
    "schema",
    "doctor",
)

ENDLESS = ("monitor", "serve", "worker")
"""Verbs that go on until they are ended, and so have no outcome to tell."""

EXIT_CODES = (
    "Exit codes: 0 done; 1 a result is invalid, or evidence was changed; 2 bad input; 3 a tool is missing or a build "
    "fails; 4 the device; 5 two implementations give other bytes; 6 over budget; 7 a gate was not passed."
)


class LazyVerbs(TyperGroup):
    """A group that knows of its commands only what its own help shows, until one of them is called."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for verb in VERBS:
            self.add_command(TyperCommand(verb, help=_help(verb), rich_markup_mode=self.rich_markup_mode), verb)

    @override
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # the types are Typer's own copy of Click's
        if args and args[0] in VERBS:
            self.add_command(_imported(args[0]), args[0])
        return super().resolve_command(ctx, args)


def _help(verb: str) -> str:
    """Read what `command` of a verb's file says about itself, without importing the file."""
    file = ast.parse((Path(__file__).parent / f"{verb}.py").read_bytes())
    command = next(node for node in file.body if isinstance(node, ast.FunctionDef) and node.name == "command")
    return ast.get_docstring(command) or ""


def _imported(verb: str) -> TyperCommand:
    with heavy_imports():
        file = import_module(f"tritguard.cli.{verb}")
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    from tritguard.cli.output import with_output  # noqa: PLC0415 - not for help

    command = with_output(file.command, json=verb not in ENDLESS)
    alone.command(name=verb, epilog=EXIT_CODES)(command)
    made = typer.main.get_command(alone)
    assert isinstance(made, TyperCommand)
    return made
