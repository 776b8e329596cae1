"""Ways of carrying frames to a board and back, and the one over a serial port."""

from __future__ import annotations

import errno
import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import serial
from typing_extensions import override

from tritguard.device.locks import HeldError, Lock, holder
from tritguard.device.protocol import Frame, ProtocolError, Receiver, encode
from tritguard.errors import DeviceError

POLL_SECONDS = 0.02
WRITE_SECONDS = 10.0
# A board sends a frame in one go, so one that stops for this long has lost its end.
_PAUSE_SECONDS = 0.05

_LOCKS = "ports"  # the kind of lock that a port has
_SERVED = ("socket:", "rfc2217:")


class NoAnswerError(DeviceError):
    """The port works, but the board is silent: no valid answer came although the host asked several times."""


class Line(Protocol):
    """Carries frames to one board and back. It may lose, double and break them; `Link` copes with that.

    Attributes:
        url: where the board is, for messages.
        bulk: whether it goes through the board's memory instead of its UART.
        slack: seconds by which anything may come later than from a real board, because an emulator is slow.
    """

    url: str
    bulk: bool
    slack: float = 0.0

    def send(self, frame: Frame) -> None:
        """Send a frame.

        Raises:
            NoAnswerError: the board takes no bytes any more.
            DeviceError: the line broke.
        """

    def receive(self, seconds: float = POLL_SECONDS) -> Iterator[Frame | ProtocolError]:
        """Wait at most this many seconds; return the frames that arrived, and an error for each broken one.

        Raises:
            DeviceError: the line broke.
        """

    def end_block(self) -> None:
        """End what the board may take for an unfinished frame because noise took its end."""

    def now(self) -> float:
        """The time in seconds, from any start."""
        return time.monotonic()

    def pause(self, seconds: float) -> None:
        """Let this many seconds pass."""
        time.sleep(seconds)

    def close(self) -> None:
        """Let go of the line."""


class StreamLine(Line):
    """A line that carries bytes, by `write` and `read`.

    Attributes:
        has_rate: whether it has a rate that can be changed; a socket has none.
    """

    bulk = False

    def __init__(self, url: str, *, has_rate: bool) -> None:
        self.url = url
        self.has_rate = has_rate
        self._receiver = Receiver()
        self._heard = 0.0

    @override
    def send(self, frame: Frame) -> None:
        self.write(encode(frame))

    @override
    def receive(self, seconds: float = POLL_SECONDS) -> Iterator[Frame | ProtocolError]:
        if received := self.read(seconds):
            self._heard = self.now()
            yield from self._receiver.take(received)
        elif self._receiver.unfinished and self.now() - self._heard >= _PAUSE_SECONDS + self.slack:
            self._receiver.forget()
            yield ProtocolError("its end is missing")

    @override
    def end_block(self) -> None:
        self.write(b"\0")

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Send bytes, whether they are frames or not.

        Raises:
            NoAnswerError, DeviceError: see `send`.
        """

    @abstractmethod
    def read(self, seconds: float) -> bytes:
        """Wait at most this many seconds for bytes, and return those that arrived.

        Raises:
            DeviceError: the line broke.
        """

    @abstractmethod
    def set_rate(self, baud: int) -> None:
        """Send and receive at another rate, in bits per second, once everything is sent.

        Raises:
            DeviceError: the line broke, or has no such rate.
        """


class SerialLine(StreamLine):
    """A serial port. It is locked while it is open, so that two users of this machine do not mix their frames.

    Args:
        url: the port, in any form that pyserial opens: `/dev/ttyACM0`, `COM3`, `socket://host:port`, ...
        baud: bits per second; sockets ignore it.

    Raises:
        DeviceError: the port cannot be opened, or another process of tritguard has it.
    """

    def __init__(self, url: str, baud: int) -> None:
        super().__init__(url, has_rate=not url.startswith("socket:"))
        self._lock = _lock(url)
        # pyserial's client for serial servers takes no write timeout, and negotiates all settings with the server again
        # whenever one changes, even its own timeout.
        self._negotiates = url.lower().startswith("rfc2217:")
        limit = {} if self._negotiates else {"write_timeout": WRITE_SECONDS}
        try:
            self._port = serial.serial_for_url(url, baudrate=baud, timeout=POLL_SECONDS, **limit)
        except Exception as error:  # pyserial raises many kinds of errors on a URL that it cannot read
            if self._lock is not None:
                self._lock.release()
            raise _not_opened(url, error) from error
        # USB adapters hold back what they received for up to 16 ms. Only some ports on Linux can be told not to.
        with suppress(AttributeError, ValueError, OSError):
            self._port.set_low_latency_mode(True)

    @override
    def read(self, seconds: float) -> bytes:
        try:
            waiting = self._port.in_waiting
            if not waiting and self._port.timeout != seconds and not self._negotiates:
                self._port.timeout = seconds
            return bytes(self._port.read(waiting or 1))
        except (serial.SerialException, OSError) as error:
            raise broken(self.url, error) from error

    @override
    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except serial.SerialTimeoutException as error:
            raise NoAnswerError(
                f"the board took no bytes for {WRITE_SECONDS:g} s",
                where=self.url,
                fix="check the cable and that the board runs a tritguard firmware",
            ) from error
        except (serial.SerialException, OSError) as error:
            raise broken(self.url, error) from error

    @override
    def set_rate(self, baud: int) -> None:
        try:
            self._port.flush()
            self._port.baudrate = baud
        except (serial.SerialException, OSError, ValueError) as error:
            raise broken(self.url, error) from error

    @override
    def close(self) -> None:
        self._port.close()
        if self._lock is not None:
            self._lock.release()


def port_user(port: str) -> int | None:
    """The id of the process of tritguard's that uses a port of this machine, 0 if unknown; None if none does."""
    return holder(_LOCKS, str(Path(port).resolve()))


def _lock(url: str) -> Lock | None:
    """Lock a port of this machine, under whatever name it is given, or one that is served, under its address."""
    here = Path(url).is_char_device()
    if not here and not url.startswith(_SERVED):
        return None
    try:
        return Lock(_LOCKS, str(Path(url).resolve()) if here else url)
    except HeldError as error:
        holder = f"process {error.args[0]}" if error.args[0] else "another process"
        raise DeviceError(
            f"the port is in use by {holder}", where=url, fix="wait for it, or end it, then start again"
        ) from error


def _not_opened(url: str, error: Exception) -> DeviceError:
    fixes = {
        errno.EACCES: "sudo usermod -aG dialout $USER, then log in again",
        errno.EBUSY: "end the program that has it open, such as a terminal",
    }
    served = "check the address, and that the serial server runs there and serves nobody else"
    otherwise = served if url.lower().startswith(_SERVED) else "'tritguard doctor' lists the ports"
    fix = fixes.get(getattr(error, "errno", None) or 0, otherwise)
    return DeviceError(f"the port cannot be opened ({error})", where=url, fix=fix)


def broken(url: str, reason: object) -> DeviceError:
    """Return the error for a line that broke."""
    return DeviceError(
        f"the connection broke ({reason})",
        where=url,
        fix="check the cable and the board's power, or restart the emulator",
    )
