"""The names of an exported model in someone else's project.

In a bundle the name of every file, function, type and macro starts with `tg_` or `TG_`. An export replaces this with
the model's own prefix, in the kernels too, so that models exported separately can share a firmware, even if different
versions of tritguard wrote them.
"""

from __future__ import annotations

import re

from tritguard.emit.bundle import Bundle
from tritguard.emit.render import identifier
from tritguard.emit.trust import trusted_sources
from tritguard.errors import BadInputError

_OWN = re.compile(r"\b(?:tg|TG)_(?=\w)")
_PREFIX = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_LONGEST = 40  # well below the 63 characters Arduino allows for a library's name, and linker maps stay readable


def default_prefix(name: str) -> str:
    """Derive a prefix from a model's name."""
    return identifier(name)[:_LONGEST].rstrip("_")


def check_prefix(prefix: str) -> None:
    """Raise BadInputError unless a prefix makes valid names in C, Kconfig and every build system."""
    if _PREFIX.fullmatch(prefix) is None or len(prefix) > _LONGEST:
        raise BadInputError(
            f"{prefix!r} cannot be the prefix of C names",
            where="--prefix",
            fix=f"use at most {_LONGEST} lower case letters, digits and single underscores, starting with a letter",
        )


def renamed_sources(bundle: Bundle, prefix: str) -> dict[str, str]:
    """Return a bundle's C files by name, with `prefix` in place of `tg` in their names and contents.

    Raises:
        BadInputError: see `trusted_sources`.
    """

    def renamed(text: str) -> str:
        return _OWN.sub(lambda own: f"{prefix.upper() if own[0] == 'TG_' else prefix}_", text)

    return {renamed(name): renamed(source.decode()) for name, source in sorted(trusted_sources(bundle).items())}
