"""The templates of the pages, which build on those of the reports."""

from __future__ import annotations

from functools import cache
from urllib.parse import quote

from jinja2 import ChoiceLoader, Environment, PackageLoader

from tritguard.report import templating


@cache
def environment() -> Environment:
    """Make the environment: this package's templates first, then those of the reports."""
    made = templating.environment()
    assert made.loader is not None
    made.loader = ChoiceLoader([PackageLoader("tritguard.serve"), made.loader])
    made.filters["address"] = lambda text: quote(text, safe="/")
    return made
