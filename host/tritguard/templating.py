"""The one way to Jinja: the templates of a package, in which an undefined name is an error."""

from __future__ import annotations

from typing import Any

import jinja2


def environment(package: str, *, autoescape: bool = False, **options: Any) -> jinja2.Environment:
    """An environment for the folder `templates` of a package.

    Args:
        package: the package's full name.
        autoescape: whether values are escaped, as HTML needs it; code and project files go without.
        options: further options of Jinja's; a template's last newline is kept unless they say otherwise.
    """
    settings = {"keep_trailing_newline": True} | options
    loader = jinja2.PackageLoader(package)
    return jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, autoescape=autoescape, **settings)
