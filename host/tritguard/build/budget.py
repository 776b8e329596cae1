"""The budget gate: a firmware that takes more flash or RAM than allowed is not kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from tritguard.boards import Board
from tritguard.build.record import Sizes
from tritguard.emit.bundle import Manifest
from tritguard.errors import BadInputError, OverBudgetError
from tritguard.records import Record

_SIZE = re.compile(r"(\d+)\s*([KM]?)(?:i?B)?", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20}
_NAMED = 3


def parse_bytes(text: str) -> int:
    """The number of bytes in "65536", "64K" or "1M", where K is 1,024 and M is 1,024 K.

    Raises:
        BadInputError: the text is not a size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise BadInputError(f"{text!r} is no size", fix="write 65536, 64K or 1M")
    return int(match[1]) * _UNITS[match[2].upper()]


def _bytes(value: Any) -> Any:
    try:
        return parse_bytes(value) if isinstance(value, str) else value
    except BadInputError as error:
        raise ValueError(str(error)) from error


_IN_SCHEMA = {"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "string", "pattern": _SIZE.pattern}]}
Bytes = Annotated[int, Field(gt=0), BeforeValidator(_bytes), WithJsonSchema(_IN_SCHEMA, mode="validation")]


class Budget(Record):
    """The bytes a firmware may take; None allows what the board has. RAM is static memory plus the reserved stack.

    The buffer of the serial line shrinks to its least size before a firmware exceeds `max_ram`.
    """

    max_flash: Bytes | None = None
    max_ram: Bytes | None = None

    def check(self, sizes: Sizes, manifest: Manifest, where: str) -> None:
        """Check sizes against the budget.

        Raises:
            OverBudgetError: names what is over budget, by how many bytes, and the largest layers.
        """
        complaints = []
        if self.max_flash is not None and sizes.flash_total > self.max_flash:
            constants = {layer.layer: layer.bytes for layer in sizes.flash_layers}
            complaints.append(_complaint("flash", sizes.flash_total, self.max_flash, constants, manifest))
        ram = sizes.ram_static + sizes.stack_reserved
        if self.max_ram is not None and ram > self.max_ram:
            complaints.append(_complaint("RAM", ram, self.max_ram, _arena(manifest), manifest))
        if complaints:
            raise OverBudgetError("; ".join(complaints), where=where, fix="use a smaller model or allow more")


def does_not_fit(excess: Mapping[str, int], board: Board, manifest: Manifest | None) -> OverBudgetError:
    """Return the error for a firmware that takes more than its board has.

    Args:
        excess: by region of the linker script, FLASH or RAM, the bytes that do not fit.
        board: the board.
        manifest: names the layers that weigh most; None if something other than the bundle's own C runs the model.
    """
    sizes = {"FLASH": board.memory.flash.bytes, "RAM": board.memory.ram.bytes}
    complaints = []
    for region, count in excess.items():
        kind = {"FLASH": "flash"}.get(region, region)
        weighing = _weights if kind == "flash" else _arena
        most = "" if manifest is None else _heaviest(weighing(manifest), manifest)
        complaints.append(f"the firmware is {count:,} B too large for the {sizes[region]:,} B of {kind}{most}")
    return OverBudgetError("; ".join(complaints), where=board.id, fix="use a smaller model or a larger board")


def _weights(manifest: Manifest) -> dict[int, int]:
    return {layer.index: layer.weight_bytes for layer in manifest.layers if layer.weight_bytes}


def _arena(manifest: Manifest) -> dict[int, int]:
    return {layer.index: manifest.arena_in_use(layer.index) for layer in manifest.layers}


def _complaint(kind: str, used: int, allowed: int, layers: dict[int, int], manifest: Manifest) -> str:
    most = _heaviest(layers, manifest)
    return f"{used:,} B of {kind} are {used - allowed:,} B more than the {allowed:,} B allowed{most}"


def _heaviest(layers: dict[int, int], manifest: Manifest) -> str:
    heaviest = sorted(layers, key=lambda layer: -layers[layer])[:_NAMED]
    ops = {layer.index: layer.op for layer in manifest.layers}
    named = ", ".join(f"layer {layer} ({ops[layer]}) with {layers[layer]:,} B" for layer in heaviest)
    return f"; most weigh {named}" if named else ""
