"""The test of whether a board works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tritguard.build import Build
from tritguard.device import Bench, open_device
from tritguard.emit import Bundle
from tritguard.evaluate.selftest import Check, Selftest
from tritguard.evaluate.selftest import selftest as try_board
from tritguard.twin import Twin


def selftest(
    bundle: Bundle,
    firmware: Build,
    out: str | Path,
    *,
    port: str | None = None,
    bench: Bench | None = None,
    note: Callable[[Check], None] = lambda _: None,
) -> Selftest:
    """Try a board in a minute: its line, its memory, its bytes against the twin's, and how steady its time is.

    Args:
        bundle: the model.
        firmware: its build, which the board runs.
        out: the file of the sealed record.
        port: the board's serial port, or `auto` to look for it; without it the emulated board is started.
        bench: commands that lease the board at the port and switch its power if it hangs.
        note: called with each check once it is made.

    Raises:
        DeviceError, WrongFirmwareError: see `open_device`.
    """
    twin = Twin(bundle)
    with open_device(bundle, firmware, port, bench) as device:
        return try_board(device, twin, Path(out), note)
