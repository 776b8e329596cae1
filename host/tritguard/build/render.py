"""The Jinja environment of a firmware's project files."""

from __future__ import annotations

from functools import cache

import jinja2


@cache
def templates() -> jinja2.Environment:
    """Templates of this package; an undefined name is an error."""
    loader = jinja2.PackageLoader("tritguard.build")
    return jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
