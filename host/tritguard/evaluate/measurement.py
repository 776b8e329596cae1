"""What a device is and how long an inference takes on it, for every study that measures one."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from tritguard.device import Device, emulator_version
from tritguard.profile import estimate_cycles
from tritguard.records import Record


class Firmware(Record):
    """What answered on the serial port."""

    board: str
    board_name: str
    core: str
    engine: str = "native"
    emulated: bool
    build_id: str
    model_sha256: str
    elf_sha256: str
    clock_hz: int

    @classmethod
    def of(cls, device: Device) -> Self:
        """Describe the firmware on a device, as its build and its HELLO have it."""
        record = device.build.record
        return cls(
            board=record.board.id,
            board_name=record.board.name,
            core=record.board.core,
            engine=device.hello.engine,
            emulated=device.emulated,
            build_id=device.hello.build_id,
            model_sha256=device.hello.model_sha256,
            elf_sha256=record.elf_sha256,
            clock_hz=device.hello.clock_hz,
        )


class Latency(Record):
    """The time of one inference, over all inputs that the device was given.

    On an emulated board `cycles_estimated` is an estimate by `cycles_method`, or None for a core without one. There,
    `instructions` is exact, or None if the emulator's timers count cycles of its own. On a real board both are None,
    and ticks divided by tick_hz are the measured time.

    Attributes:
        ticks_p99: at most 1 % of the inferences took more ticks; None in the results of versions that did not say.
        instructions: those of the median inference.
        cycles_estimated: those of the median inference.
    """

    runs: int
    ticks_median: int
    ticks_min: int
    ticks_max: int
    ticks_p99: int | None = None
    tick_hz: PositiveInt
    instructions: int | None
    cycles_estimated: int | None
    cycles_method: str | None
    core_hz: PositiveInt

    @classmethod
    def of(cls, device: Device, ticks: NDArray[np.int64]) -> Self:
        """Sum up the ticks of n inferences, int64[n].

        Raises:
            DeviceError: see `estimate_cycles`.
        """
        median = int(np.median(ticks))
        instructions, core_hz = device.instructions(median), device.build.record.board.clock.hz
        cycles, method = _cycles(device, median, instructions, core_hz)
        return cls(
            runs=len(ticks),
            ticks_median=median,
            ticks_min=int(ticks.min()),
            ticks_max=int(ticks.max()),
            ticks_p99=int(np.quantile(ticks, 0.99, method="inverted_cdf")),
            tick_hz=device.tick_hz,
            instructions=instructions,
            cycles_estimated=cycles,
            cycles_method=method,
            core_hz=core_hz,
        )

    @property
    def milliseconds(self) -> float:
        """The median time: measured on a real board, estimated from cycles on an emulated one."""
        return self.milliseconds_of(self.ticks_median)

    def milliseconds_of(self, ticks: int) -> float:
        """The time that so many ticks are, found as the median's is."""
        if self.cycles_estimated is not None:
            return 1e3 * self.cycles_estimated / self.core_hz * ticks / self.ticks_median
        return 1e3 * ticks / self.tick_hz


def _cycles(device: Device, ticks: int, instructions: int | None, core_hz: int) -> tuple[int | None, str | None]:
    """Estimate the cycles of an inference on an emulated board, and say how; None twice where there is no estimate."""
    if device.emulator is not None and device.emulator.cycles_method is not None:
        return round(ticks * core_hz / device.tick_hz), device.emulator.cycles_method
    if instructions is None or (estimate := estimate_cycles(device.bundle, device.build)) is None:
        return None, None
    return round(instructions * estimate.per_instruction), estimate.method


def tools_of(device: Device) -> dict[str, str]:
    """The versions of what made and ran a device's firmware, for provenance."""
    tools = {"compiler": device.build.record.compiler}
    if device.emulated:
        tools["emulator"] = emulator_version(device.build.record.board)
    return tools
