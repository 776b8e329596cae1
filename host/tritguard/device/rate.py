"""The rate of a serial line: the highest that works, and a lower one when errors come."""

from __future__ import annotations

import math
import random
from dataclasses import replace

from tritguard.device.line import StreamLine
from tritguard.device.link import Link, Patience
from tritguard.device.protocol import Request
from tritguard.errors import DeviceError

_SETTLE_SECONDS = 0.05  # longer than a board takes to let its UART's FIFO run empty
_TEST_BYTES = 256
_TESTS = 4
# A board that hears this many broken blocks in a row goes back to the rate it began with.
_BLOCKS_TO_FALL_BACK = 20
_PATIENCE = Patience(seconds=0.2, attempts=3, due=0.05)
_FOUND_SOON = Patience(seconds=0.2, attempts=10)


class Rate:
    """The rate at which a host and a board speak.

    Args:
        link: a link over `line`.
        line: the line, which carries frames at `start`.
        start: the board's rate after a reset, in bits per second.
        faster: the rates that it can be asked for, the fastest first. A line without a rate, a socket, keeps its own.

    Attributes:
        baud: the rate in use, in bits per second.
    """

    def __init__(self, link: Link, line: StreamLine, start: int, faster: tuple[int, ...]) -> None:
        self.baud = start
        self._link = link
        self._line = line
        self._start = start
        self._faster = list(faster) if line.has_rate else []

    @property
    def byte_seconds(self) -> float:
        """The time of a byte on the line: eight bits, a start and a stop bit."""
        return 10 / self.baud

    @property
    def can_fall(self) -> bool:
        """Whether a lower rate is left."""
        return self.baud > self._start

    def rise(self) -> None:
        """Go to the fastest rate at which test data comes back whole.

        Raises:
            DeviceError: the port failed, or the board is not found again at the rate it began with.
        """
        if self._faster:  # what the board still has to say about earlier noise is not the faster rate's fault
            self._link.ask(Request.ECHO, b"", _FOUND_SOON)
        while self._faster and not self._works(self._faster[0]):
            self._faster.pop(0)

    def fall(self, busy: float) -> None:
        """Go to the next lower rate at which test data comes back whole, and never to the one in use again.

        Args:
            busy: see `start_again`.

        Raises:
            DeviceError: see `rise`.
        """
        self._faster = [rate for rate in self._faster if rate < self.baud]
        self.start_again(busy)
        self.rise()

    def start_again(self, busy: float = 0.0) -> None:
        """Go back to the rate of the beginning, whatever rate the board has, and make sure that it answers.

        Args:
            busy: for how long the board may still compute, in seconds.

        Raises:
            DeviceError: the port failed, or the board does not answer.
        """
        self._line.set_rate(self._start)
        self.baud = self._start
        self._line.pause(_SETTLE_SECONDS)
        call_back(self._line)
        attempts = _FOUND_SOON.attempts + math.ceil(busy / _FOUND_SOON.seconds)
        self._link.ask(Request.ECHO, b"", replace(_FOUND_SOON, attempts=attempts))

    def _works(self, baud: int) -> bool:
        resent, rng = self._link.resent, random.Random(baud)
        try:
            self._link.ask(Request.RATE, baud.to_bytes(4, "little"), _PATIENCE)
            self._line.set_rate(baud)
            self._line.pause(_SETTLE_SECONDS)
            self.baud = baud
            if all(self._echoes(rng.randbytes(_TEST_BYTES)) for _ in range(_TESTS)) and self._link.resent == resent:
                return True
        except DeviceError:  # one of the two has no such rate, or something was lost on the way
            pass
        self.start_again()
        return False

    def _echoes(self, data: bytes) -> bool:
        return self._link.ask(Request.ECHO, data, _PATIENCE) == data


def call_back(line: StreamLine) -> None:
    """Send noise that makes a board which listens at another rate go back to its first one."""
    line.write(b"\x55\0" * _BLOCKS_TO_FALL_BACK)
