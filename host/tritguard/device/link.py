"""Sends requests over a line and waits for the answers: several may be on their way, and lost ones are sent again."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Self, TypeVar

from tritguard.device.line import Line, NoAnswerError
from tritguard.device.protocol import (
    ANSWER,
    ERROR,
    MARKS,
    VERSION,
    ErrorCode,
    Frame,
    ProtocolError,
    Refusal,
    Request,
    wire_bytes,
)
from tritguard.errors import DeviceError

ATTEMPTS = 5
ANSWER_SECONDS = 1.0
DUE_SECONDS = 0.1
_SEQUENCES = 1 << 32
_T = TypeVar("_T")


@dataclass(frozen=True)
class Patience:
    """How long a link waits.

    Attributes:
        seconds: how long to wait for an answer before what is on its way counts as lost.
        attempts: the link gives up after this many times `seconds` without an answer.
        due: after this time an answer is late, in seconds: what the board received last may lack its end.
        broken: how long an answer may still come after something broke, in seconds, before what is on its way counts as
            lost; 0 if it is sent again at once. What broke may be no answer but a stray byte, and a board that must not
            be disturbed is still computing.
    """

    seconds: float = ANSWER_SECONDS
    attempts: int = ATTEMPTS
    due: float = DUE_SECONDS
    broken: float = 0.0


class _Flight:
    """What was sent and not answered yet, in order. A line changes no order, and a board answers in it."""

    def __init__(self, ahead: int) -> None:
        self._ahead = ahead
        self._sent: deque[tuple[int, int]] = deque()  # sequence number, bytes

    def has_room(self, size: int) -> bool:
        """Whether the board can keep one more request of `size` bytes while it works on the oldest."""
        waiting = sum(size for _, size in self._sent) - self._sent[0][1] if self._sent else 0
        return not self._sent or waiting + size <= self._ahead

    def sent(self, sequence: int, size: int) -> None:
        """Note that a request was sent."""
        self._sent.append((sequence, size))

    def answered(self, sequence: int) -> list[int]:
        """Take an answer; return what was sent before it and got none, so that it is lost."""
        order = [sent for sent, _ in self._sent]
        if sequence not in order:  # it was taken for lost
            return []
        at = order.index(sequence)
        for _ in range(at + 1):
            self._sent.popleft()
        return order[:at]

    def broken(self) -> list[int]:
        """Give up the oldest, whose turn it was, because something broke on the way there or back; return it."""
        return [self._sent.popleft()[0]] if self._sent else []

    def all_lost(self) -> list[int]:
        """Give up everything; return it."""
        lost = [sequence for sequence, _ in self._sent]
        self._sent.clear()
        return lost

    def __len__(self) -> int:
        return len(self._sent)

    def __contains__(self, sequence: int) -> bool:
        return any(sequence == sent for sent, _ in self._sent)


class _Exchange:
    """What one call of `Link.ask_all` still has to ask, and what of it is on its way."""

    def __init__(self, link: Link, frames: Iterator[Frame], ahead: int, on_loss: Callable[[int], None]) -> None:
        self.asked = 0
        self.trouble: str | None = None
        self.broken_at: float | None = None  # when something broke that may yet be answered
        self._link = link
        self._fresh = frames
        self._following = next(frames, None)
        self._waiting: dict[int, tuple[int, Frame]] = {}  # position and request, by sequence number
        self._again: deque[int] = deque()
        self._flight = _Flight(ahead)
        self._on_loss = on_loss
        self._begun = 0

    @property
    def is_over(self) -> bool:
        """Whether everything is answered."""
        return not self._waiting and self._following is None

    def send(self) -> bool:
        """Send what there is room for; return whether something was sent although nothing was on its way."""
        was_idle, asked = not len(self._flight), self.asked
        while (frame := self._next()) is not None and self._flight.has_room(size := wire_bytes(len(frame.payload))):
            if self._again:
                self._again.popleft()
                self._link.resent += 1
            else:
                self._waiting[frame.sequence] = (self._begun, frame)
                self._begun += 1
                self._following = next(self._fresh, None)
            self._link.line.send(frame)
            self._flight.sent(frame.sequence, size)
            self.asked += 1
        return was_idle and self.asked > asked

    def take(self, item: Frame | ProtocolError, *, is_lost: bool) -> tuple[int, bytes] | None:
        """Take what arrived; return a position and its answer, if it is one.

        Args:
            item: what arrived.
            is_lost: whether the oldest request counts as lost if it is broken.
        """
        if (breakage := breakage_of(item)) is not None:
            self.trouble = breakage
            if is_lost:
                self._lose(self._flight.broken())
            elif self.broken_at is None:
                self.broken_at = self._link.line.now()
        elif isinstance(item, Frame):
            waiting = self._waiting.get(item.sequence)
            if waiting is not None and not self._link.answers(item, waiting[1]):
                return None
            self._lose(self._flight.answered(item.sequence))
            if waiting is not None:  # otherwise left over from a request that was sent twice, or from another session
                del self._waiting[item.sequence]
                self.broken_at = None
                return waiting[0], item.payload
        return None

    def lose_all(self) -> None:
        """Count everything on its way as lost."""
        self.broken_at = None
        self._lose(self._flight.all_lost())

    def _next(self) -> Frame | None:
        while self._again and self._again[0] not in self._waiting:
            self._again.popleft()
        return self._waiting[self._again[0]][1] if self._again else self._following

    def _lose(self, sequences: list[int]) -> None:
        for sequence in sequences:
            if sequence in self._waiting and sequence not in self._flight and sequence not in self._again:
                self._again.append(sequence)
                self._on_loss(len(self._waiting[sequence][1].payload))


class Link:
    """Asks one board over a line. It is not thread-safe.

    Attributes:
        line: what carries the frames; closed with the link.
        url: where the line goes, for messages.
        resent: how many frames were sent again so far.
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
        patience: Patience = Patience(),
        *,
        on_silence: Callable[[], None] | None = None,
    ) -> bytes:
        """Send a request, repeating it if needed, and return the answer's payload.

        Args:
            request: the type of the request.
            payload: the payload of the request.
            patience: how long to wait, and how often.
            on_silence: called before sending again if nothing at all came back; it may raise to give up.

        Raises:
            NoAnswerError: no valid answer came.
            DeviceError: the board refused the request, or the port failed.
        """
        ((_, answer),) = self.ask_all(request, [payload], lambda: patience, on_silence=on_silence)
        return answer

    def ask_all(
        self,
        request: Request,
        payloads: Iterable[bytes],
        patience: Callable[[], Patience],
        *,
        ahead: int = 0,
        numbered: bool = False,
        on_silence: Callable[[], None] | None = None,
        on_loss: Callable[[int], None] = lambda _: None,
    ) -> Iterator[tuple[int, bytes]]:
        """Ask several times, sending the next requests while the board works on one.

        What was lost is sent again, alone and at once: a board answers in order, so an answer tells that what was sent
        before and has none is lost, and a broken frame tells the same of the oldest.

        Args:
            request: the type of the requests.
            payloads: their payloads.
            patience: gives how long to wait, and how often; called again and again.
            ahead: how many bytes the board can keep while it works on one request.
            numbered: tell the board which of the payloads each is, from 0.
            on_silence: called before sending again if nothing at all came back; it may raise to give up.
            on_loss: called with the bytes of the payload of a request that was lost, or its answer; it may raise to
                stop.

        Yields:
            The position of a payload, and the payload of its answer, in any order.

        Raises:
            NoAnswerError, DeviceError: see `ask`.
        """
        frames = (
            Frame(request, self.next_sequence(), payload, mark=number % MARKS if numbered else 0)
            for number, payload in enumerate(payloads)
        )
        exchange = _Exchange(self, frames, ahead, on_loss)
        heard = answered = self.line.now()
        reminders, silent = 0, True
        while not exchange.is_over:
            if exchange.send():
                heard, reminders = self.line.now(), 0
            limit = patience()
            for item in self.line.receive():
                answer = exchange.take(item, is_lost=limit.broken == 0)
                # After an answer the wait for the next one begins, in which nothing came yet.
                heard, reminders, silent = self.line.now(), 0, answer is not None
                if answer is not None:
                    exchange.send()
                    yield answer
                    answered = heard = self.line.now()  # the time that the caller took is not the board's
            limit, now, slack = patience(), self.line.now(), self.line.slack
            if now - answered >= limit.attempts * (limit.seconds + slack):
                raise self.no_answer(request, exchange.asked, exchange.trouble)
            if now - heard >= limit.seconds + slack:
                if silent and on_silence is not None:
                    on_silence()
                exchange.lose_all()
                silent = True
            elif exchange.broken_at is not None and now - exchange.broken_at >= limit.broken + slack:
                exchange.lose_all()
            elif now - heard >= (limit.due + slack) * 2**reminders:
                self.line.end_block()
                reminders += 1

    def next_sequence(self) -> int:
        """A sequence number that no request had yet."""
        self._sequence = (self._sequence + 1) % _SEQUENCES
        return self._sequence

    def answers(self, frame: Frame, request: Frame) -> bool:
        """Whether a frame with the sequence number of a request answers it.

        Raises:
            DeviceError: the board speaks another version, or refused the request.
        """
        if frame.version != VERSION:
            raise DeviceError(
                f"the board speaks protocol version {frame.version}, not {VERSION}",
                where=self.url,
                fix="flash a firmware built by this version of tritguard",
            )
        if frame.type == ERROR:
            raise DeviceError(f"the board refused the request: {Refusal.parse(frame.payload)}", where=self.url)
        return frame.type == request.type + ANSWER

    def parsed(self, parse: Callable[[bytes], _T], payload: bytes) -> _T:
        """Parse the payload of an answer.

        Raises:
            DeviceError: the answer does not follow the protocol.
        """
        try:
            return parse(payload)
        except ProtocolError as error:
            raise self.nonsense(error) from error

    def nonsense(self, error: ProtocolError) -> DeviceError:
        """Return the error for an answer that does not follow the protocol."""
        return DeviceError(
            f"the board's answer does not follow the protocol: {error}",
            where=self.url,
            fix="flash a firmware built by this version of tritguard",
        )

    def no_answer(self, request: Request, asked: int, trouble: str | None) -> NoAnswerError:
        """Return the error for a request that was asked `asked` times and got no answer."""
        return NoAnswerError(
            f"{trouble or 'no answer'} to {request.name}, asked {asked} times",
            where=self.url,
            fix="check the cable and that the board runs a tritguard firmware",
        )

    def close(self) -> None:
        """Close the line."""
        self.line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def breakage_of(item: Frame | ProtocolError) -> str | None:
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
