"""What every verb takes: `--json` for one JSON object instead of words, and `--quiet` for none."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from tritguard.cli import terminal

_JSON = Annotated[
    bool, typer.Option("--json", help="Print one JSON object, as the files have it; words and progress go to stderr.")
]
_QUIET = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


def with_output(command: Callable[..., None], *, json: bool) -> Callable[..., None]:
    """Give a verb the options for what it prints.

    Args:
        command: the verb's function.
        json: whether it has something to tell as JSON, see `terminal.tell`.
    """
    signature = inspect.signature(command, eval_str=True)
    keyword = functools.partial(inspect.Parameter, kind=inspect.Parameter.KEYWORD_ONLY, default=False)
    added = [keyword("quiet_output", annotation=_QUIET)]
    if json:
        added.insert(0, keyword("json_output", annotation=_JSON))

    @functools.wraps(command)
    def with_options(*, quiet_output: bool, json_output: bool = False, **given: Any) -> None:
        terminal.speak(json=json_output, quiet=quiet_output)
        try:
            command(**given)
        finally:
            terminal.speak(json=False, quiet=False)

    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in signature.parameters.values()]
    with_options.__signature__ = signature.replace(parameters=[*parameters, *added])  # type: ignore[attr-defined]
    with_options.__annotations__ = {one.name: one.annotation for one in [*parameters, *added]}
    return with_options
