"""The Jinja environment for the files of a firmware's project."""

from __future__ import annotations

from functools import cache

import jinja2

from tritguard.emit.render import c_comment


@cache
def templates() -> jinja2.Environment:
    """The templates of this package; an undefined name is an error."""
    loader = jinja2.PackageLoader("tritguard.build")
    made = jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    made.filters["c_comment"] = c_comment
    return made
