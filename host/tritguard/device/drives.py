"""Drives that boot loaders show on USB, told by the INFO_UF2.TXT on them."""

from __future__ import annotations

import re
import string
import sys
from collections.abc import Iterator
from pathlib import Path

_INFO = "INFO_UF2.TXT"
_MOUNTS = Path("/proc/mounts")


def find_drive(model: str) -> Path | None:
    """The drive whose boot loader says it is of this model, its `Board-ID`; None if none is mounted."""
    for place in _mounted():
        try:
            said = (place / _INFO).read_text(errors="replace")
        except OSError:
            continue
        if re.search(rf"^Board-ID:\s*{re.escape(model)}\s*$", said, re.MULTILINE | re.IGNORECASE):
            return place
    return None


def _mounted() -> Iterator[Path]:
    if _MOUNTS.exists():
        for line in _MOUNTS.read_text().splitlines():
            place = line.split()[1]
            yield Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), place))
    elif sys.platform == "darwin":
        yield from Path("/Volumes").iterdir()
    else:
        yield from (Path(f"{letter}:/") for letter in string.ascii_uppercase)
