"""The record of one board. Code asks a board for facts and never compares its name."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator, model_validator

from tritguard.boards.core import CoreClass, core_class, known_cores
from tritguard.boards.driver import Clock, Driver, Positive, SerialPort, Word, drivers
from tritguard.records import Record

# Generated files quote these in comments, so they hold nothing that could end a comment or continue a line.
_Title = Annotated[str, Field(pattern=r"^[A-Za-z0-9 .,:;()+&/#'_-]*$")]
_Url = Annotated[str, Field(pattern=r"^(https?://[A-Za-z0-9.,:;/?#@&=+~%()_-]+)?$")]
_Printable = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
_UsbId = Annotated[str, Field(pattern=r"^[0-9a-f]{4}:[0-9a-f]{4}$")]
_Flag = Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]


class Region(Record):
    """A range of addresses; its size is in bytes. The origin may be missing where a framework has the linker script."""

    origin: Word | None = None
    bytes: Positive


class Memory(Record):
    """Where the linker places code and data."""

    flash: Region
    ram: Region


class Emulator(Record):
    """How this board is emulated.

    Attributes:
        program: the emulator.
        machine: its name for the board (QEMU's `-M`).
        serial_index: which of its serial lines is the UART that the firmware uses, counted from 0.
        tick_hz: rate of the emulated SysTick, in Hz; on a framework, of the ticks that its clock gives there.
        since: the program's first major version that has the machine; None where every version in use does.
    """

    program: Literal["qemu", "rp2040js"] = "qemu"
    machine: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    serial_index: Annotated[int, Field(ge=0, le=15)] = 0
    tick_hz: Positive
    since: Annotated[int, Field(ge=1)] | None = None


class OpenocdUpload(Record):
    """Upload through a debug probe, with the configuration files that come with OpenOCD."""

    method: Literal["openocd"]
    interface: Annotated[str, Field(pattern=r"^interface(/[A-Za-z0-9_-]+)+\.cfg$")]
    target: Annotated[str, Field(pattern=r"^target(/[A-Za-z0-9_-]+)+\.cfg$")]


class DfuUpload(Record):
    """Upload through the chip's USB boot loader; `address` is where flash starts."""

    method: Literal["dfu"]
    vid_pid: _UsbId
    address: Word


class PlatformioUpload(Record):
    """Upload by PlatformIO's own uploader for the board, with one of the protocols that its file names."""

    method: Literal["platformio"]
    protocol: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]


class PyocdUpload(Record):
    """Upload through a debug probe by pyOCD; `target` is its name for the chip."""

    method: Literal["pyocd"]
    target: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]


class Uf2Upload(Record):
    """Upload by copying a UF2 file onto the drive that the board's boot loader shows.

    Attributes:
        family: the chip family's number in the UF2 file.
        model: how INFO_UF2.TXT on the drive names the board, its `Board-ID`.
    """

    method: Literal["uf2"]
    family: Word
    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9_. -]+$")]


class TeensyUpload(Record):
    """Upload by PJRC's teensy_loader_cli; `mcu` is its name for the board."""

    method: Literal["teensy"]
    mcu: Annotated[str, Field(pattern=r"^[A-Z0-9_]+$")]


Upload = OpenocdUpload | DfuUpload | PlatformioUpload | PyocdUpload | Uf2Upload | TeensyUpload


class PlatformIO(Record):
    """How PlatformIO builds firmware for this board on a framework.

    Attributes:
        platform: one of PlatformIO's own platforms, by its name; `boards/platformio.py` knows where it comes from.
        version: the platform's version that the board was tried with; None for the newest.
        board: PlatformIO's id of the board.
        framework: what starts the chip and owns `main`.
        defines: macros that the framework reads, such as the one that turns the serial line over USB on.
    """

    platform: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    version: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)*$")] | None = None
    board: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    framework: Literal["arduino"]
    defines: tuple[Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*(=[A-Za-z0-9_]+)?$")], ...] = ()


class Board(Record):
    """Everything the firmware, the emulator and the upload have to know about a board.

    Attributes:
        id: the file's name without its suffix; HELLO reports it, so it has at most 31 ASCII characters.
        core: the compiler's name for the core (`-mcpu=`).
        fpu: the core's floating-point unit, None if it has none. The native engine never uses it.
        status: `emulated` if it is used through an emulator only; `unconfirmed` for a real board with facts no hardware
            has confirmed; `built` if its firmware was also built with the framework's real core; `confirmed` if it was
            seen working.
        unconfirmed: the facts that no hardware has confirmed, in words.
        built: by whom the firmware was built, and with which versions, in words.
        stack_bytes: bytes at the start of RAM that are reserved for the stack; on a framework, how deep its use of the
            stack is measured.
        mark: the pin that is high while the model runs, as the driver's example writes it; for current logs.
        usb: ids of the board's serial port on USB, `vendor:product` in hex; none where they are a probe's or not known.
        platformio: how PlatformIO builds for it on a framework; None for firmware that starts the chip itself.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,30}$")]
    name: _Title
    vendor: _Title
    url: _Url
    core: str
    fpu: _Flag | None = None
    status: Literal["emulated", "unconfirmed", "built", "confirmed"]
    unconfirmed: tuple[_Printable, ...]
    built: _Printable | None = None
    stack_bytes: Annotated[int, Field(ge=1024, multiple_of=8)]
    memory: Memory
    uart: SerializeAsAny[SerialPort]
    clock: SerializeAsAny[Clock]
    mark: _Title | None = None
    usb: tuple[_UsbId, ...] = ()
    platformio: PlatformIO | None = None
    emulator: Emulator | None = None
    upload: tuple[Annotated[Upload, Field(discriminator="method")], ...] = ()

    @field_validator("core")
    @classmethod
    def _known_core(cls, value: str) -> str:
        if core_class(value) is None:
            raise ValueError(f"there are no kernels for this core; use one of {', '.join(known_cores())}")
        return value

    @field_validator("uart", mode="plain")
    @classmethod
    def _uart_of_its_driver(cls, value: object) -> SerialPort:
        name = value.get("driver") if isinstance(value, dict) else getattr(value, "driver", None)
        known = isinstance(name, str) and name in drivers()
        return (drivers()[str(name)].uart if known else SerialPort).model_validate(value)

    @field_validator("clock", mode="plain")
    @classmethod
    def _clock_of_the_driver(cls, value: object, info: ValidationInfo) -> Clock:
        uart = info.data.get("uart")  # absent if it is invalid itself, which is reported first
        if isinstance(value, dict):  # records of earlier versions hold null for the settings of other drivers
            value = {name: setting for name, setting in value.items() if setting is not None}
        return (Clock if uart is None else drivers()[uart.driver].clock).model_validate(value)

    @model_validator(mode="after")
    def _one_way_of_building(self) -> Self:
        framework = None if self.platformio is None else self.platformio.framework
        if self.driver.needs.framework != framework:
            raise ValueError(f"the driver {self.uart.driver} does not go with the framework {framework}")
        if framework is None and None in (self.memory.flash.origin, self.memory.ram.origin):
            raise ValueError("memory.flash and memory.ram need an origin, because no framework has the linker script")
        if self.mark is not None:
            self.driver.check_mark(self.mark)
        return self

    @property
    def core_class(self) -> CoreClass:
        """The class of cores whose kernels this board runs."""
        found = core_class(self.core)
        assert found is not None
        return found

    @property
    def driver(self) -> Driver:
        """The driver that starts the board's clock and serial line."""
        return drivers()[self.uart.driver]
