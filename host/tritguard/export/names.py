"""The names an exported model goes by in a foreign project.

In a bundle every name of file, function, type and macro starts with `tg_` or `TG_`. An export puts the model's own
prefix in their place, kernels included: models exported apart, by different versions even, share a firmware.
"""

from __future__ import annotations

import re
from pathlib import Path

from tritguard.emit.render import identifier
from tritguard.errors import BadInputError

_OWN = re.compile(r"\b(?:tg|TG)_(?=\w)")
_PREFIX = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_LONGEST = 40  # Arduino allows 63 characters in a library's name, and linkers' maps stay readable


def default_prefix(name: str) -> str:
    """A prefix made of a model's name."""
    return identifier(name)[:_LONGEST].rstrip("_")


def check_prefix(prefix: str) -> None:
    """Raise BadInputError unless a prefix makes valid names in C, Kconfig and every build system."""
    if _PREFIX.fullmatch(prefix) is None or len(prefix) > _LONGEST:
        raise BadInputError(
            f"{prefix!r} cannot begin names in C",
            where="--prefix",
            fix=f"at most {_LONGEST} lower case letters, digits and single underscores, a letter first",
        )


def renamed_sources(c_dir: Path, prefix: str) -> dict[str, str]:
    """A bundle's C files by name, with `prefix` in place of `tg` in names and contents."""

    def renamed(text: str) -> str:
        return _OWN.sub(lambda own: f"{prefix.upper() if own[0] == 'TG_' else prefix}_", text)

    return {renamed(file.name): renamed(file.read_text()) for file in sorted(c_dir.iterdir())}
