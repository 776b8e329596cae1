"""The record of a profile: what one inference took, layer by layer."""

from __future__ import annotations

from typing import Literal

from tritguard.build.engine import EngineName
from tritguard.records import Record

Method = Literal["counted", "timed"]


class Work(Record):
    """What a piece of code took in one inference; unknown figures are None.

    Attributes:
        ticks: ticks of the board's timer.
        instructions: the exact number of instructions, on an emulated board.
        cycles: cycles estimated with a static model of the core.
    """

    ticks: int | None = None
    instructions: int | None = None
    cycles: int | None = None


class FunctionWork(Record):
    """What one function took within a layer."""

    name: str
    work: Work


class LayerWork(Record):
    """What one layer of the bundle took.

    Attributes:
        layer: its index in the bundle.
        weight_format: how its weights are stored; for another engine than the native one, int8 or none.
        macs: its multiply-accumulates.
        flash_bytes: the size of its constants; 0 where another engine has them in one array.
        arena_bytes: the size of the activations that are alive while it runs; 0 where another engine plans them.
        functions: most expensive first; empty if they are not known.
        far: why its instructions are far from those of the best layers of its kind; empty where they are not.
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
    far: str = ""

    @property
    def instructions_per_mac(self) -> float | None:
        """Instructions per multiply-accumulate; None if the layer has none or its instructions are not known."""
        if not self.macs or self.work.instructions is None:
            return None
        return self.work.instructions / self.macs


class Profile(Record):
    """The profile of one inference of one firmware.

    The layers and `outside` add up to `total`; layers without code are left out.

    Attributes:
        method: `counted` if the emulator counted the instructions of the firmware that ships, `timed` if the board's
            own timer was used, in a firmware that reads it between layers.
        tick_hz: ticks per second; None if there are no ticks.
        ticks_are_cycles: whether the board is real and says that each tick is a cycle of its core.
        outside: what the model's code outside all layers took.
        engine: what ran the model.
        outside_functions: the functions of that code, most expensive first, where they are known and the engine does
            not tell its layers apart, so that they are all there is.
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
    ticks_are_cycles: bool = False
    macs: int
    flash_total: int
    arena_bytes: int
    layers: tuple[LayerWork, ...]
    outside: Work
    total: Work
    engine: EngineName = "native"
    outside_functions: tuple[FunctionWork, ...] = ()
