"""What a device is and how long an inference takes on it, for every study that measures one."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from tritguard.device import Device, emulator_version
from tritguard.device.protocol import Interrupts, TickSource
from tritguard.profile import estimate_cycles, expected_cycles
from tritguard.records import Record

TickSourceName = Literal["systick", "cycle counter", "microseconds"]
InterruptsName = Literal["taken off", "masked", "counted"]
_SOURCES: dict[TickSource, TickSourceName] = {
    TickSource.SYSTICK: "systick",
    TickSource.CYCLE_COUNTER: "cycle counter",
    TickSource.MICROSECONDS: "microseconds",
}
_INTERRUPTS: dict[Interrupts, InterruptsName] = {
    Interrupts.TAKEN_OFF: "taken off",
    Interrupts.MASKED: "masked",
    Interrupts.COUNTED: "counted",
}
_CYCLES = ("systick", "cycle counter")


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
        """Describe the firmware on a device, from its build record and its HELLO."""
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
        frames: the inferences of a run, each of which took its own time: for a model with state the frames of a stream,
            of which only the last one's ticks count here; otherwise 1.
        tick_source: what counted the ticks on a real board; None on an emulated one, and for a firmware that does not
            say.
        interrupts: on a real board, whether a framework's interrupts were masked while the model ran, or counted in the
            ticks, or, without a framework, taken off them.
        cycles_expected: on a real board whose ticks are cycles, those that a static model expects, by
            `cycles_expected_method`.
        ticks_p99: at most 1 % of the inferences took more ticks; None in the results of versions that did not say.
        instructions: those of the median inference.
        cycles_estimated: those of the median inference.
    """

    runs: int
    frames: PositiveInt = 1
    ticks_median: int
    ticks_min: int
    ticks_max: int
    ticks_p99: int | None = None
    tick_hz: PositiveInt
    instructions: int | None
    cycles_estimated: int | None
    cycles_method: str | None
    core_hz: PositiveInt
    tick_source: TickSourceName | None = None
    interrupts: InterruptsName | None = None
    cycles_expected: PositiveInt | None = None
    cycles_expected_method: str | None = None

    @classmethod
    def of(cls, device: Device, ticks: NDArray[np.int64], frames: int = 1) -> Self:
        """Summarize the ticks of n inferences, int64[n], each of which is the last of `frames` frames.

        Raises:
            DeviceError: see `estimate_cycles` and `expected_cycles`.
        """
        median = int(np.median(ticks))
        instructions, core_hz = device.instructions(median), device.build.record.board.clock.hz
        cycles, method = _cycles(device, median, instructions, core_hz)
        source, interrupts = _told(device)
        expected = expected_cycles(device.bundle, device.build) if source in _CYCLES else None
        return cls(
            runs=len(ticks),
            frames=frames,
            ticks_median=median,
            ticks_min=int(ticks.min()),
            ticks_max=int(ticks.max()),
            ticks_p99=int(np.quantile(ticks, 0.99, method="inverted_cdf")),
            tick_hz=device.tick_hz,
            instructions=instructions,
            cycles_estimated=cycles,
            cycles_method=method,
            core_hz=core_hz,
            tick_source=source,
            interrupts=interrupts,
            cycles_expected=None if expected is None else expected.cycles,
            cycles_expected_method=None if expected is None else expected.method,
        )

    @property
    def cycles_measured(self) -> int | None:
        """The cycles of the median inference on a real board; None where its ticks are something else."""
        return self.ticks_median if self.tick_source in _CYCLES else None

    @property
    def milliseconds(self) -> float:
        """The median time: measured on a real board, estimated from cycles on an emulated one."""
        return self.milliseconds_of(self.ticks_median)

    def milliseconds_of(self, ticks: int) -> float:
        """The time of a number of ticks, computed as for the median."""
        if self.cycles_estimated is not None:
            return self.in_proportion(1e3 * self.cycles_estimated / self.core_hz, ticks)
        return 1e3 * ticks / self.tick_hz

    def in_proportion(self, of_median: float, ticks: int) -> float:
        """Turn ticks into what grows with them, given its value for the median; that value if the median is 0 ticks."""
        return of_median * ticks / self.ticks_median if self.ticks_median else of_median


def _told(device: Device) -> tuple[TickSourceName | None, InterruptsName | None]:
    """What a real board says about its ticks; None twice for an emulated one, whose ticks are the emulator's."""
    if device.emulated:
        return None, None
    facts = device.hello.facts
    return _SOURCES.get(facts.ticks), _INTERRUPTS.get(facts.interrupts)


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
