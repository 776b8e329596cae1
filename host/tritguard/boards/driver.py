"""Reads what each driver, a folder in firmware/port, needs from a board's file; its driver.toml declares it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, create_model, field_validator, model_validator

from tritguard.errors import BadInputError
from tritguard.records import Record, from_table, read_toml
from tritguard.resources import firmware_dir

Word = Annotated[int, Field(ge=0, lt=1 << 32)]
Positive = Annotated[int, Field(gt=0, lt=1 << 32)]

_RECORD = "driver.toml"
_ADDRESSES = 1 << 16  # numbers from here on are shown as files have them, in hexadecimal
_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class SerialPort(Record):
    """The serial line of a board; a driver's record adds the driver's own fields.

    Attributes:
        driver: the name of a folder in firmware/port.
        baud: bits per second after a reset; a line over USB ignores it.
        rates: faster rates that a host may ask for, in bits per second, the fastest first.
    """

    driver: str
    baud: Positive
    rates: Annotated[tuple[Positive, ...], Field(max_length=8)] = ()

    @model_validator(mode="after")
    def _rates_fall(self) -> Self:
        if (
            list(self.rates) != sorted({*self.rates}, reverse=True)
            or min(self.rates, default=self.baud + 1) <= self.baud
        ):
            raise ValueError("uart.rates are faster than uart.baud and fall from one to the next")
        return self

    @field_validator("driver")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in drivers():
            raise ValueError(f"no driver '{value}'; one of {', '.join(drivers())}")
        return value


class Uart(SerialPort):
    """A UART that the driver starts itself.

    Attributes:
        base: address of the UART's registers.
        irq: number of its interrupt, as the NVIC counts.
    """

    base: Word
    irq: Annotated[int, Field(ge=0, le=239)]


class Clock(Record):
    """The core clock, in Hz; a driver's record adds the driver's own fields.

    Attributes:
        hz: nominal frequency.
    """

    hz: Positive


R = TypeVar("R", bound=Record)


def _shown(value: int) -> str:
    """An address as files have it, or a small number."""
    return str(value) if value < _ADDRESSES else f"{value:#010x}"


class _Whole(Record):
    """A field that holds an integer, `CONFIG_<TABLE>_<FIELD>` in C."""

    minimum: Word = 0
    maximum: Word = (1 << 32) - 1
    choices: tuple[Word, ...] | None = None

    def check(self, value: int) -> int:
        """Return the value.

        Raises:
            ValueError: it is none of the choices.
        """
        if self.choices is not None and value not in self.choices:
            raise ValueError(f"{_shown(value)} is none of {', '.join(map(_shown, self.choices))}")
        return value

    def type(self) -> Any:
        """The type of the field in a pydantic model."""
        return Annotated[int, Field(ge=self.minimum, le=self.maximum), AfterValidator(self.check)]

    def numbers(self, name: str, value: int) -> dict[str, int]:
        """The numbers that config.h defines for this value, by name."""
        return {name: value}


class _Parts(Record):
    """A field that holds text, taken apart by the named groups of a pattern.

    Each group is a number of its own in C, `CONFIG_<TABLE>_<FIELD>_<GROUP>`; a letter counts from A = 0.
    """

    pattern: str
    example: str

    @model_validator(mode="after")
    def _takes_its_example(self) -> Self:
        try:
            groups = re.compile(self.pattern, re.ASCII).groupindex
        except re.error as error:
            raise ValueError(f"no pattern ({error})") from error
        if not groups:
            raise ValueError("the pattern names no group, so nothing of the text would reach the driver")
        self.check(self.example)
        return self

    def check(self, text: str) -> str:
        """Return the text.

        Raises:
            ValueError: the pattern does not match all of it, or a group matches neither a number nor a letter.
        """
        self.numbers("", text)
        return text

    def type(self) -> Any:
        """The type of the field in a pydantic model."""
        return Annotated[str, AfterValidator(self.check)]

    def numbers(self, name: str, value: str) -> dict[str, int]:
        """The numbers that config.h defines for this value, by name."""
        match = re.fullmatch(self.pattern, value, re.ASCII)
        if match is None:
            raise ValueError(f"{value!r} is not written as in {self.example!r}")
        return {f"{name}_{group.upper()}": _number(text) for group, text in match.groupdict().items()}


def _number(text: str | None) -> int:
    if text is not None and re.fullmatch(r"[A-Z]", text):
        return ord(text) - ord("A")
    if text is not None and re.fullmatch(r"[0-9]{1,9}", text):
        return int(text)
    raise ValueError(f"a group matches {text!r}, which is neither a number nor a letter from A to Z")


_Fields = dict[_Name, _Parts | _Whole]


class _DriverFile(Record):
    """`driver.toml`: fields named here narrow those that every UART or clock has; all others are added and required.

    A driver for a framework names it: clock, vectors and serial line are then the framework's. `mark` is how a board's
    file names the pin that is high while the model runs, for drivers that can set one.
    """

    about: str
    mark: _Parts | None = None
    framework: Literal["arduino"] | None = None
    uart: _Fields = Field(default={})
    clock: _Fields = Field(default={})


@dataclass(frozen=True)
class Driver:
    """A driver: its folder and what its driver.toml declares."""

    folder: Path
    needs: _DriverFile

    @property
    def name(self) -> str:
        """The name by which a board's `uart.driver` selects it."""
        return self.folder.name

    @cached_property
    def uart(self) -> type[SerialPort]:
        """The model of `[uart]` for boards with this driver."""
        return _record(Uart if self.needs.framework is None else SerialPort, self.name, self.needs.uart)

    @cached_property
    def clock(self) -> type[Clock]:
        """The model of `[clock]` for boards with this driver."""
        return _record(Clock, self.name, self.needs.clock)

    def check_mark(self, pin: str) -> None:
        """Raise ValueError if the driver cannot set this pin while the model runs."""
        if self.needs.mark is None:
            raise ValueError(f"mark: the driver {self.name} sets no pin")
        try:
            self.needs.mark.check(pin)
        except ValueError as error:
            raise ValueError(f"mark: {error}") from error

    def numbers(self, uart: SerialPort, clock: Clock, mark: str | None = None) -> dict[str, int]:
        """The driver's own part of config.h: unsigned 32-bit numbers by their names without `CONFIG_`."""
        found: dict[str, int] = {}
        if mark is not None and self.needs.mark is not None:
            found |= self.needs.mark.numbers("MARK", mark)
        for common, values, fields in ((Clock, clock, self.needs.clock), (Uart, uart, self.needs.uart)):
            for name, field in fields.items():
                if name not in common.model_fields:
                    found |= field.numbers(f"{common.__name__}_{name}".upper(), getattr(values, name))
        return found


def _record(common: type[R], driver: str, fields: Mapping[str, _Parts | _Whole]) -> type[R]:
    types: dict[str, Any] = {name: (field.type(), ...) for name, field in fields.items()}
    return create_model(f"{common.__name__}_{driver}", __base__=common, **types)


@cache
def drivers() -> dict[str, Driver]:
    """All drivers by name.

    Raises:
        BadInputError: a driver.toml is malformed.
    """
    files = sorted((firmware_dir() / "port").glob(f"*/{_RECORD}"))
    return {file.parent.name: read_driver(file) for file in files}


def read_driver(file: Path) -> Driver:
    """The driver whose folder holds this driver.toml.

    Raises:
        BadInputError: the folder's name is not allowed, or the file is malformed.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", file.parent.name):
        raise BadInputError("a driver's folder is named in lower-case letters, digits and underscores", where=str(file))
    return Driver(file.parent, from_table(_DriverFile, read_toml(file), where=str(file)))
