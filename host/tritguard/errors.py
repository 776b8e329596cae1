"""The errors a user can meet. Each says what was wrong, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class TritguardError(Exception):
    """Base of all expected failures; the command line prints it as one line and exits with `exit_code`.

    Args:
        what: what was wrong, as a sentence without its full stop.
        where: the file, op, port or field in which it was found.
        fix: what the user can do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        """One line: `where: what; fix`."""
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}; {self.fix}" if self.fix else head


class BadInputError(TritguardError):
    """A file, an option or a configuration cannot be used as it is."""

    exit_code = 2


class BadModelError(BadInputError):
    """A model file is broken, of a foreign kind, or not fully int8."""


class UnsupportedOpError(BadModelError):
    """A valid model contains an op, or an option of an op, that the engine does not implement."""


class ToolMissingError(TritguardError):
    """A program or Python package that a step needs is not installed."""

    exit_code = 3


class BuildError(TritguardError):
    """The firmware or the twin did not compile or link, or it did not fit."""

    exit_code = 3


class OverBudgetError(BuildError):
    """The firmware takes more flash or RAM than its budget allows, or than its board has."""

    exit_code = 6


class DeviceError(TritguardError):
    """The board did not answer, disappeared, or answered with an error."""

    exit_code = 4


class WrongFirmwareError(DeviceError):
    """The board runs a different model or firmware from the one that was asked for."""


class MismatchError(TritguardError):
    """Two implementations that must give the same bytes gave different ones."""

    exit_code = 5


def first_line(error: Exception) -> str:
    """The first line of an exception's text, cut after 200 characters: what a message can quote of it."""
    return str(error).strip().partition("\n")[0][:200]


@contextmanager
def about(model: Path) -> Iterator[None]:
    """Put the file's name in front of the location of any BadModelError that the block raises."""
    try:
        yield
    except BadModelError as error:
        error.where = f"{model}: {error.where}" if error.where else str(model)
        raise
