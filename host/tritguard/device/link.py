"""Sends requests over a line and waits for the answers, with timeouts, resending and dropping stale frames."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Self

from tritguard.device.line import Line
from tritguard.device.protocol import (
    ANSWER,
    ERROR,
    VERSION,
    ErrorCode,
    Frame,
    ProtocolError,
    Refusal,
    Request,
)
from tritguard.errors import DeviceError

ATTEMPTS = 5
ANSWER_SECONDS = 1.0
QUIET_SECONDS = 0.05
_SEQUENCES = 1 << 32


class NoAnswerError(DeviceError):
    """The port works, but no valid answer came although the host asked several times."""


class Link:
    """Asks one board over a line. It handles one request at a time and is not thread-safe.

    Attributes:
        line: what carries the frames; closed with the link.
        url: where the line goes, for messages.
        resent: how many requests were sent again so far.
    """

    def __init__(self, line: Line) -> None:
        self.line = line
        self.url = line.url
        self.resent = 0
        self._sequence = secrets.randbelow(_SEQUENCES)

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
        frame = Frame(request, sequence, payload)
        trouble: str | None = None
        asked = 0
        # The limit is a time, not a count: while noise is still arriving over a slow line, broken frames come fast.
        give_up = time.monotonic() + attempts * seconds
        while asked == 0 or time.monotonic() < give_up:
            self.resent += asked > 0
            asked += 1
            self.line.send(frame)
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
            for item in self.line.receive():
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

    def close(self) -> None:
        """Close the line."""
        self.line.close()

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
