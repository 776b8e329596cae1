"""Asks boards with USB of their own for their boot loader: their port is opened at 1200 baud and closed."""

from __future__ import annotations

import serial

from tritguard.errors import DeviceError

_BAUD = 1200


def touch(port: str) -> None:
    """Ask the board at a port to restart in its boot loader; the port disappears.

    Raises:
        DeviceError: the port cannot be opened.
    """
    try:
        opened = serial.serial_for_url(port, baudrate=_BAUD)
        opened.dtr = False
        opened.close()
    except Exception as error:  # pyserial raises many kinds of errors on a URL that it cannot read
        raise DeviceError(
            f"the port cannot be opened ({error})", where=port, fix="'tritguard doctor' lists the ports"
        ) from error
