"""What a profile says: one inference, layer by layer."""

from __future__ import annotations

from typing import Literal

from tritguard.records import Record

Method = Literal["counted", "timed"]


class Work(Record):
    """What a piece of code took in one inference; None where it is not known.

    Attributes:
        ticks: of the board's timer.
        instructions: exact, on an emulated board.
        cycles: an estimate by a static model of the core.
    """

    ticks: int | None = None
    instructions: int | None = None
    cycles: int | None = None


class FunctionWork(Record):
    """A function's share of a layer."""

    name: str
    work: Work


class LayerWork(Record):
    """One layer of the bundle.

    Attributes:
        layer: its index there.
        macs: multiply-accumulates.
        flash_bytes: constants.
        arena_bytes: activations alive while it runs.
        functions: most expensive first; empty where they are not known.
    """

    layer: int
    op: str
    name: str
    weight_format: str
    macs: int
    flash_bytes: int
    arena_bytes: int
    work: Work
    functions: tuple[FunctionWork, ...] = ()

    @property
    def instructions_per_mac(self) -> float | None:
        """None without multiply-accumulates or instructions."""
        if not self.macs or self.work.instructions is None:
            return None
        return self.work.instructions / self.macs


class Profile(Record):
    """One inference of one firmware. Layers and `outside` add up to `total`; layers without code are left out.

    Attributes:
        method: `counted`: by the emulator, in the firmware that ships; `timed`: by the board's own timer, in a
            firmware that calls it between layers.
        outside: the model's code around its layers.
        tick_hz: rate of the ticks; None where there are none.
    """

    schema_version: Literal[1] = 1
    tritguard: str
    model: str
    model_sha256: str
    board: str
    board_name: str
    core: str
    emulated: bool
    build_id: str
    elf_sha256: str
    method: Method
    tick_hz: int | None
    macs: int
    flash_total: int
    arena_bytes: int
    layers: tuple[LayerWork, ...]
    outside: Work
    total: Work
