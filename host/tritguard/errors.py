"""The errors a user can meet: each says what was wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class TritguardError(Exception):
    """Base of all expected failures; the command line prints it as one line and exits with `exit_code`.

    Args:
        what: what was wrong, a sentence without its full stop.
        where: file, op, port or field it was found in.
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
    """A file, option or configuration that cannot be used as it is."""

    exit_code = 2


class BadModelError(BadInputError):
    """A model file that is broken, foreign or not fully int8."""


class UnsupportedOpError(BadModelError):
    """A sound model with an op, or an op's option, that the engine lacks."""


class ToolMissingError(TritguardError):
    """A program or Python package that this step needs is not installed."""

    exit_code = 3


class BuildError(TritguardError):
    """The firmware or the twin did not compile, link or fit."""

    exit_code = 3


class OverBudgetError(BuildError):
    """The firmware takes more flash or RAM than it was allowed to."""

    exit_code = 6


class DeviceError(TritguardError):
    """The board did not answer, vanished, or answered with an error."""

    exit_code = 4


class WrongFirmwareError(DeviceError):
    """The board runs another model or another firmware than the one asked for."""


class MismatchError(TritguardError):
    """Two implementations that must give the same bytes did not."""

    exit_code = 5


@contextmanager
def about(model: Path) -> Iterator[None]:
    """Name a model's file in what is wrong with the model."""
    try:
        yield
    except BadModelError as error:
        error.where = f"{model}: {error.where}" if error.where else str(model)
        raise
