"""The templates of reports."""

from __future__ import annotations

import re

from jinja2 import Environment
from markupsafe import Markup, escape

from tritguard import templating
from tritguard.printable import printable


def environment() -> Environment:
    """Make an environment of this package's templates; whatever they are given is escaped and made printable."""
    made = templating.environment(
        "tritguard.report",
        autoescape=True,
        keep_trailing_newline=False,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["printed"] = _printed
    return made


def _printed(text: str) -> Markup:
    """Escape a text of several lines, which stay lines."""
    return escape(printable(text, kept="\n"))


def markdown() -> Environment:
    """Make an environment of this package's templates for Markdown; whatever they are given stays text."""
    return templating.environment(
        "tritguard.report", finalize=_as_text, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )


_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~])")


def _as_text(value: object) -> object:
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return _SPECIAL.sub(r"\\\1", printable(value))


def _harmless(value: object) -> object:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
