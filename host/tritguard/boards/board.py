"""The record of one board. Code asks it for facts, never for its name."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from tritguard.boards.core import CoreClass, core_class, known_cores
from tritguard.records import Record

_Word = Annotated[int, Field(ge=0, lt=1 << 32)]
_Positive = Annotated[int, Field(gt=0, lt=1 << 32)]
_Pin = Annotated[str, Field(pattern=r"^P[A-K](\d|1[0-5])$")]
_Text = Annotated[str, Field(pattern=r"^[ -~]*$")]


class Region(Record):
    """A piece of the address space. Bytes."""

    origin: _Word
    bytes: _Positive


class Memory(Record):
    """Where code and data go."""

    flash: Region
    ram: Region


class CmsdkUart(Record):
    """Arm's CMSDK UART, as on the MPS2 FPGA boards."""

    driver: Literal["cmsdk"]
    base: _Word
    irq: Annotated[int, Field(ge=0, le=239)]
    baud: _Positive


class Stm32f4Uart(Record):
    """A USART of the STM32F4 and its two pins, both at the same alternate function."""

    driver: Literal["stm32f4"]
    base: _Word
    irq: Annotated[int, Field(ge=0, le=239)]
    baud: _Positive
    tx: _Pin
    rx: _Pin
    alternate: Annotated[int, Field(ge=0, le=15)]


class Lm3sUart(Record):
    """A UART of the Stellaris LM3S, with its clock gate in RCGC1."""

    driver: Literal["lm3s"]
    base: _Word
    irq: Annotated[int, Field(ge=0, le=239)]
    baud: _Positive


class Nrf51Uart(Record):
    """The UART of the nRF51."""

    driver: Literal["nrf51"]
    base: _Word
    irq: Annotated[int, Field(ge=0, le=31)]
    baud: Literal[9600, 115_200]


class Clock(Record):
    """The core clock. Hz.

    Attributes:
        hz: nominal.
        crystal_hz: what it is made from, where the driver starts a crystal.
        reset_hz: the clock after reset, kept when the crystal does not start.
    """

    hz: _Positive
    crystal_hz: _Positive | None = None
    reset_hz: _Positive | None = None


class Emulator(Record):
    """How QEMU plays this board.

    Attributes:
        machine: QEMU's name of it.
        serial_index: which of QEMU's serial lines is the board's UART.
        tick_hz: rate of the emulated SysTick.
    """

    machine: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    serial_index: Annotated[int, Field(ge=0, le=15)] = 0
    tick_hz: _Positive


class OpenocdUpload(Record):
    """Upload through a debug probe. OpenOCD's own configuration files."""

    method: Literal["openocd"]
    interface: str
    target: str


class DfuUpload(Record):
    """Upload through the chip's USB boot loader."""

    method: Literal["dfu"]
    vid_pid: Annotated[str, Field(pattern=r"^[0-9a-f]{4}:[0-9a-f]{4}$")]
    address: _Word


class Board(Record):
    """A board.

    Attributes:
        id: the file's name; ASCII, at most 31 characters, as HELLO has it.
        core: the compiler's name of the core (`-mcpu=`).
        fpu: the core's floating point unit, None without one. The native engine never uses it.
        status: `emulated`: used through QEMU only; `unconfirmed`: a real board whose `unconfirmed` facts no hardware
            has shown to be right; `confirmed`: seen working.
        unconfirmed: those facts, for people.
        stack_bytes: reserved for the stack, at the start of RAM.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,30}$")]
    name: _Text
    vendor: _Text
    url: _Text
    core: str
    fpu: str | None = None
    status: Literal["emulated", "unconfirmed", "confirmed"]
    unconfirmed: tuple[str, ...]
    stack_bytes: Annotated[int, Field(ge=1024, multiple_of=8)]
    memory: Memory
    uart: Annotated[CmsdkUart | Lm3sUart | Nrf51Uart | Stm32f4Uart, Field(discriminator="driver")]
    clock: Clock
    emulator: Emulator | None = None
    upload: tuple[Annotated[OpenocdUpload | DfuUpload, Field(discriminator="method")], ...] = ()

    @field_validator("core")
    @classmethod
    def _known_core(cls, value: str) -> str:
        if core_class(value) is None:
            raise ValueError(f"no kernels for it; known are {', '.join(known_cores())}")
        return value

    @property
    def core_class(self) -> CoreClass:
        """Which kernels fit the core."""
        found = core_class(self.core)
        assert found is not None
        return found

    @model_validator(mode="after")
    def _driver_has_its_clock(self) -> Self:
        if self.uart.driver == "stm32f4" and (self.clock.crystal_hz is None or self.clock.reset_hz is None):
            raise ValueError("the stm32f4 driver needs clock.crystal_hz and clock.reset_hz")
        return self
