"""What each check looks for, in a line: the table of `checks.toml`."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from importlib.resources import files


@functools.cache
def explanations() -> Mapping[str, str]:
    """What is true where a check passes, by its code."""
    found: dict[str, str] = tomllib.loads((files(__package__) / "checks.toml").read_text())
    return found


def explained(code: str) -> str:
    """What is true where this check passes; empty for a code that is not in the table, such as a newer version's."""
    return explanations().get(code, "")
