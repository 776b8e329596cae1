"""The consoles that every verb prints on. What they are given may come from a model, a board or a file of anybody's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from typing_extensions import override

from tritguard.printable import printable


class CleanConsole(Console):
    """Reads markup only where a call asks for it, and spells out every control character in what it prints."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    @override
    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            # Control segments are the console's own: they move the cursor below a progress bar.
            yield segment if segment.control else Segment(printable(segment.text, kept="\n"), segment.style)


console = CleanConsole()
errors = CleanConsole(stderr=True, soft_wrap=True)


def say(line: str) -> None:
    """Print one line that holds words of others; it stays one line whatever they are."""
    console.print(printable(line), soft_wrap=True)


def say_always(line: str) -> None:
    """Print one line that an option of its own asked for; `--quiet` leaves it."""
    typer.echo(printable(line), err=console.stderr)


def print_json(content: str) -> None:
    """Print JSON as it is, with control characters as JSON escapes them."""
    typer.echo(printable(content, kept="\n"))


_in_json = False


def speak(*, json: bool, quiet: bool) -> None:
    """Say how a verb speaks: in words, or in one JSON object while words go to stderr, or not at all."""
    global _in_json  # noqa: PLW0603 - set once a verb, as the consoles' own state below is
    _in_json = json
    console.stderr = json
    console.quiet = quiet


def tell(outcome: object) -> None:
    """Print what a verb has to tell as one JSON object, if that was asked for; called once, before the verb ends.

    Args:
        outcome: a record, or a mapping with records in it.
    """
    if _in_json:
        from pydantic_core import to_json  # noqa: PLC0415 - help goes without

        print_json(to_json(outcome, indent=2).decode())
