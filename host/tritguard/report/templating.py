"""The templates of reports."""

from __future__ import annotations

from jinja2 import Environment
from markupsafe import Markup

from tritguard import templating
from tritguard.printable import printable


def environment() -> Environment:
    """Make an environment of this package's templates; whatever they are given is escaped and made printable."""
    return templating.environment(
        "tritguard.report",
        autoescape=True,
        keep_trailing_newline=False,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _harmless(value: object) -> object:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
