"""Sends requests over a serial port and waits for the answers, with timeouts, resending and dropping stale frames."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from typing import Self

import serial

from tritguard.device.protocol import (
    ANSWER,
    ERROR,
    VERSION,
    ErrorCode,
    Frame,
    ProtocolError,
    Receiver,
    Refusal,
    Request,
    encode,
)
from tritguard.errors import DeviceError

ATTEMPTS = 5
ANSWER_SECONDS = 1.0
QUIET_SECONDS = 0.05
_POLL_SECONDS = 0.02
_WRITE_SECONDS = 10.0
_SEQUENCES = 1 << 32


class NoAnswerError(DeviceError):
    """The port works, but no valid answer came although the host asked several times."""


class Link:
    """A serial line to one board. It handles one request at a time and is not thread-safe.

    Args:
        url: the port, in any form that pyserial opens: `/dev/ttyACM0`, `COM3`, `socket://host:port`, ...
        baud: bits per second; sockets ignore it.

    Attributes:
        url: the port, as given.
        resent: how many requests were sent again so far.

    Raises:
        DeviceError: the port cannot be opened.
    """

    def __init__(self, url: str, baud: int) -> None:
        self.url = url
        self.resent = 0
        self._sequence = secrets.randbelow(_SEQUENCES)
        self._receiver = Receiver()
        try:
            self._port = serial.serial_for_url(url, baudrate=baud, timeout=_POLL_SECONDS, write_timeout=_WRITE_SECONDS)
        except Exception as error:  # pyserial raises many kinds of errors on a URL that it cannot read
            raise DeviceError(
                f"the port cannot be opened ({error})",
                where=url,
                fix="'tritguard doctor' lists the ports",
            ) from error

    def ask(
        self,
        request: Request,
        payload: bytes = b"",
        *,
        seconds: float = ANSWER_SECONDS,
        attempts: int = ATTEMPTS,
        busy_seconds: float = 0.0,
        on_silence: Callable[[], None] | None = None,
    ) -> bytes:
        """Send a request, repeating it if needed, and return the answer's payload.

        Args:
            request: the type of the request.
            payload: the payload of the request.
            seconds: how long to wait for an answer before sending the request again.
            attempts: how many times to send it on a silent line. On a noisy line it is sent more often within the same
                time.
            busy_seconds: how long the board is silent while it works on this request.
            on_silence: called before sending again if nothing at all came back; it may raise to give up.

        Raises:
            NoAnswerError: no valid answer came.
            DeviceError: the board refused the request, or the port failed.
        """
        self._sequence = sequence = (self._sequence + 1) % _SEQUENCES
        frame = encode(Frame(request, sequence, payload))
        trouble: str | None = None
        asked = 0
        # The limit is a time, not a count: while noise is still arriving over a slow line, broken frames come fast.
        give_up = time.monotonic() + attempts * seconds
        while asked == 0 or time.monotonic() < give_up:
            self.resent += asked > 0
            asked += 1
            self._write(frame)
            answer, trouble = self._await(request, sequence, seconds, QUIET_SECONDS + busy_seconds)
            if answer is not None:
                return answer
            if trouble is None and on_silence is not None:
                on_silence()
        raise NoAnswerError(
            f"{trouble or 'no answer'} to {request.name}, asked {asked} times",
            where=self.url,
            fix="check the cable and that the board runs a tritguard firmware",
        )

    def _await(
        self, request: Request, sequence: int, seconds: float, quiet_seconds: float
    ) -> tuple[bytes | None, str | None]:
        """Wait for the answer; return its payload, or None and a description of what came instead, if anything."""
        latest = deadline = time.monotonic() + seconds
        trouble = None
        while time.monotonic() < deadline:
            for item in self._receive():
                if isinstance(item, Frame) and self._answers(item, request, sequence):
                    return item.payload, None
                if (breakage := _breakage(item)) is not None:
                    trouble = breakage
                    # An older frame may have broken while the answer is still on its way: wait for a quiet line.
                    deadline = min(latest, time.monotonic() + quiet_seconds)
        return None, trouble

    def _answers(self, frame: Frame, request: Request, sequence: int) -> bool:
        if frame.sequence != sequence:  # left over from a request that was sent twice, or from another session
            return False
        if frame.version != VERSION:
            raise DeviceError(
                f"the board speaks protocol version {frame.version}, not {VERSION}",
                where=self.url,
                fix="flash a firmware built by this version of tritguard",
            )
        if frame.type == ERROR and _breakage(frame) is None:
            raise DeviceError(f"the board refused the request: {Refusal.parse(frame.payload)}", where=self.url)
        return frame.type == request + ANSWER

    def _receive(self) -> Iterator[Frame | ProtocolError]:
        try:
            received = self._port.read(self._port.in_waiting or 1)
        except (serial.SerialException, OSError) as error:
            raise self._broke(error) from error
        return self._receiver.take(received)

    def _write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except (serial.SerialException, OSError) as error:
            raise self._broke(error) from error

    def _broke(self, error: Exception) -> DeviceError:
        return DeviceError(
            f"the connection broke ({error})",
            where=self.url,
            fix="check the cable and the board's power, or restart the emulator",
        )

    def close(self) -> None:
        """Close the port."""
        self._port.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _breakage(item: Frame | ProtocolError) -> str | None:
    """Describe why an item cannot be an answer to any request, or return None if it can be one."""
    if isinstance(item, ProtocolError):
        return f"a broken answer ({item})"
    if item.type != ERROR:
        return None
    try:
        refusal = Refusal.parse(item.payload)
    except ProtocolError as error:
        return f"a broken answer ({error})"
    return f"no answer ({refusal})" if refusal.code == ErrorCode.BROKEN_FRAME else None
