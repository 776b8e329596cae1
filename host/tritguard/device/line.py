"""Ways of carrying frames to a board and back, and the one over a serial port."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import serial
from typing_extensions import override

from tritguard.device.protocol import Frame, ProtocolError, Receiver, encode
from tritguard.errors import DeviceError

POLL_SECONDS = 0.02
WRITE_SECONDS = 10.0


class Line(Protocol):
    """Carries frames to one board and back. It may lose, double and break them; `Link` sees to that.

    Attributes:
        url: where the board is, for messages.
        bulk: whether it goes through the board's memory instead of its UART.
    """

    url: str
    bulk: bool

    def send(self, frame: Frame) -> None:
        """Send a frame.

        Raises:
            DeviceError: the line broke.
        """

    def receive(self) -> Iterator[Frame | ProtocolError]:
        """Wait a moment at most; return the frames that arrived, and an error for each broken one.

        Raises:
            DeviceError: the line broke.
        """

    def close(self) -> None:
        """Let go of the line."""


class SerialLine(Line):
    """A serial port.

    Args:
        url: the port, in any form that pyserial opens: `/dev/ttyACM0`, `COM3`, `socket://host:port`, ...
        baud: bits per second; sockets ignore it.

    Raises:
        DeviceError: the port cannot be opened.
    """

    bulk = False

    def __init__(self, url: str, baud: int) -> None:
        self.url = url
        self._receiver = Receiver()
        try:
            self._port = serial.serial_for_url(url, baudrate=baud, timeout=POLL_SECONDS, write_timeout=WRITE_SECONDS)
        except Exception as error:  # pyserial raises many kinds of errors on a URL that it cannot read
            raise DeviceError(
                f"the port cannot be opened ({error})",
                where=url,
                fix="'tritguard doctor' lists the ports",
            ) from error

    @override
    def send(self, frame: Frame) -> None:
        self.write(encode(frame))

    @override
    def receive(self) -> Iterator[Frame | ProtocolError]:
        try:
            received = self._port.read(self._port.in_waiting or 1)
        except (serial.SerialException, OSError) as error:
            raise broken(self.url, error) from error
        return self._receiver.take(received)

    def write(self, data: bytes) -> None:
        """Send bytes, whether they are frames or not.

        Raises:
            DeviceError: the line broke.
        """
        try:
            self._port.write(data)
        except (serial.SerialException, OSError) as error:
            raise broken(self.url, error) from error

    @override
    def close(self) -> None:
        self._port.close()


def broken(url: str, reason: object) -> DeviceError:
    """Return the error for a line that broke."""
    return DeviceError(
        f"the connection broke ({reason})",
        where=url,
        fix="check the cable and the board's power, or restart the emulator",
    )
