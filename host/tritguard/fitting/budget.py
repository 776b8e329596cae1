"""How much of a board a network may take."""

from __future__ import annotations

import re

from pydantic import PositiveInt

from tritguard.build import parse_bytes
from tritguard.errors import BadInputError
from tritguard.records import Record

_MILLION = 1_000_000
_TIME = re.compile(r"(\d+(?:\.\d+)?)M\s*(cycles|macs?)?", re.IGNORECASE)
_FIX = "write FLASH,RAM or FLASH,RAM,TIME: 322K,64K or 322K,64K,40M (cycles) or 322K,64K,40MMACs"


class FitBudget(Record):
    """The most that a firmware with the network may take.

    Attributes:
        flash: bytes of the whole firmware.
        ram: bytes of static memory and the reserved stack, as `build --max-ram` counts them.
        cycles: estimated cycles of one inference; None allows any number.
        macs: multiply-accumulates of one inference; None allows any number.
    """

    flash: PositiveInt
    ram: PositiveInt
    cycles: PositiveInt | None = None
    macs: PositiveInt | None = None


def parse_budget(text: str) -> FitBudget:
    """The budget in "322K,64K", "322K,64K,40M" (million cycles) or "322K,64K,40MMACs"; sizes as `build` takes them.

    Raises:
        BadInputError: the text is no budget.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in (2, 3):
        raise BadInputError(f"{text!r} is no budget", where="--fit", fix=_FIX)
    flash, ram = (parse_bytes(part) for part in parts[:2])
    if min(flash, ram) <= 0:
        raise BadInputError(f"{text!r} allows nothing", where="--fit", fix=_FIX)
    if len(parts) == 2:
        return FitBudget(flash=flash, ram=ram)
    match = _TIME.fullmatch(parts[2])
    most = round(float(match[1]) * _MILLION) if match else 0
    if match is None or most <= 0:
        raise BadInputError(f"{parts[2]!r} is no number of cycles or MACs", where="--fit", fix=_FIX)
    if (match[2] or "").lower().startswith("mac"):
        return FitBudget(flash=flash, ram=ram, macs=most)
    return FitBudget(flash=flash, ram=ram, cycles=most)
