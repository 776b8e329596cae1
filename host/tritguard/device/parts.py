"""Runs a model on inputs that go over a noisy line in parts, of which only the lost ones are sent again.

A frame as long as an image hardly ever survives noise that breaks one byte in a hundred; one in two of 47 bytes does.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tritguard.device.line import POLL_SECONDS
from tritguard.device.link import Link, Patience, breakage_of
from tritguard.device.noise import Noise
from tritguard.device.protocol import ANSWER, MARKS, PLACE_BYTES, Frame, Parts, ProtocolError, Request, wire_bytes
from tritguard.errors import DeviceError

_RUN = struct.Struct("<IHH")  # the CRC-32 of the whole input; the piece of the answer that is asked for
ANSWER_BYTES_MAX = 0xFFFF  # the fields of RUN reach no further
# After this many bytes of parts the board is asked what it has, so that lost parts are known while others are sent.
_BATCH_BYTES = 600
_RUN_BYTES = wire_bytes(_RUN.size)
_STATE_BYTES = wire_bytes(4 + 16)
_RUNS_AGAIN = 6  # RUNs to send at once, at most; several, because their answers may break
_FAILURE = 0.2  # the accepted probability that no answer comes at all
_FEW_PLACES = 4
_HARDLY = 0.4
_FIRST_ROUND_TRIP = 0.02
_SHORTEST_WAIT = 0.002
_SHORTEST_PAUSE = 0.0005
_SOON_SECONDS = 0.01
_LOST_INPUTS = 3
_FRUITLESS_STATES = 300  # states in a row without anything new that are too many; even the noisiest line has fewer
_PIECES_AT_ONCE = 8


@dataclass(frozen=True)
class _Sent:
    """A part that was sent.

    Attributes:
        places: the places of the input in it.
        size: bytes on the wire.
        run: the first RUN that came after it.
        copies: how often it was sent.
    """

    places: range
    size: int
    run: int
    copies: int


class _Input:
    """One input and what is known of its parts at the board."""

    def __init__(self, sequence: int, data: bytes) -> None:
        self.sequence = sequence
        self.data = data
        self.places = -(-len(data) // PLACE_BYTES)
        self.queue = list(range(self.places))
        self.runs = 0
        self.is_complete = False
        self.was_sent = False  # all of it, at least once
        self.sent_bytes = 0
        self._crc = zlib.crc32(data)
        self._on_way: list[_Sent] = []

    def next_part(self, longest: int, copies: int = 1) -> Frame:
        """Take consecutive places from the queue, up to `longest` bytes, as a part to be sent `copies` times."""
        first, count = self.queue[0], 1
        while count < min(len(self.queue), longest // PLACE_BYTES) and self.queue[count] == first + count:
            count += 1
        del self.queue[:count]
        self.was_sent |= not self.queue
        places = range(first, first + count)
        data = self.data[first * PLACE_BYTES : places.stop * PLACE_BYTES]
        size = wire_bytes(len(data))
        self._on_way.append(_Sent(places, size, self.runs, copies))
        self.sent_bytes += size * copies
        return Frame(Request.PART, self.sequence, data, mark=first)

    def next_run(self, piece: range) -> Frame:
        """The request to run the input and give a piece of the answer, or else tell what is missing."""
        self.runs += 1
        payload = _RUN.pack(self._crc, piece.start, len(piece))
        return Frame(Request.RUN, self.sequence, payload, mark=(self.runs - 1) % MARKS)

    def has_run(self) -> None:
        """Note that the board has had all of it."""
        self.is_complete = True
        self.queue = []

    def learn(self, parts: Parts, run: int, noise: Noise) -> int:
        """Take what the board told in answer to a RUN, which covers all parts sent before. Return how many got lost."""
        told = parts.first + len(parts.there)
        missing = {
            place for place in range(parts.first, min(told, self.places)) if not parts.there[place - parts.first]
        }
        self.is_complete = parts.first >= self.places
        resolved = [sent for sent in self._on_way if sent.run <= run and (self.is_complete or sent.places.stop <= told)]
        lost = [not missing.isdisjoint(sent.places) for sent in resolved]
        for sent, is_lost in zip(resolved, lost, strict=True):
            if sent.copies == 1:
                noise.learn(sent.size, lost=is_lost)
        self._on_way = [sent for sent in self._on_way if sent not in resolved]
        unknown = {place for sent in self._on_way for place in sent.places}
        self.queue = [] if self.is_complete else sorted((set(self.queue) | missing) - unknown)
        return sum(lost)


class PartsLink:
    """Asks for inferences over a link, in parts.

    Args:
        link: the link.
        noise: estimates how noisy the line is; it learns from each part.
        answer_bytes: how many bytes the answer of an inference has.
        byte_seconds: gives the time of a byte on the line, in seconds.
        patience: gives how long to wait for anything at all.
        on_silence: called when nothing came for that time, or an input got lost at the board; it may raise.

    Attributes:
        round_trip: from when a request has left until its answer is here, in seconds, averaged over recent ones.
        compute: how long an inference takes, in seconds; None before the first.
        free: the time, by the line's clock, when everything that was sent has left.
    """

    def __init__(
        self,
        link: Link,
        noise: Noise,
        answer_bytes: int,
        byte_seconds: Callable[[], float],
        patience: Callable[[], Patience],
        on_silence: Callable[[], None],
    ) -> None:
        self.link = link
        self.noise = noise
        self.answer_bytes = answer_bytes
        self.patience = patience
        self.on_silence = on_silence
        self.round_trip = _FIRST_ROUND_TRIP
        self.compute: float | None = None
        self.free = 0.0
        self._byte_seconds = byte_seconds

    def ask_all(self, samples: Sequence[bytes], ahead: int) -> Iterator[tuple[int, bytes]]:
        """Run the model on samples, sending parts of the next while the board computes.

        Args:
            samples: the inputs.
            ahead: how many bytes the board can keep meanwhile.

        Yields:
            The position of a sample and the payload of its answer, that of INFER, in order.

        Raises:
            NoAnswerError: no valid answer came.
            DeviceError: the board refused a request, or the port failed.
        """
        following: _Input | None = None
        for i, sample in enumerate(samples):
            current = following or _Input(self.link.next_sequence(), sample)
            is_last = i + 1 == len(samples)
            following = None if is_last else _Input(self.link.next_sequence(), samples[i + 1])
            yield i, _Run(self, current, following, ahead).answer()

    def send(self, frame: Frame) -> float:
        """Send a frame; return the time when it has left."""
        self.link.line.send(frame)
        seconds = wire_bytes(len(frame.payload)) * self._byte_seconds()
        self.free = max(self.free, self.link.line.now()) + seconds
        return self.free


class _Run:
    """What the host and the board say about one input."""

    def __init__(self, parts: PartsLink, current: _Input, following: _Input | None, ahead: int) -> None:
        self._parts = parts
        self._line = parts.link.line
        self._current = current
        self._following = following
        self._ahead = ahead
        size, total = parts.noise.best_part(), parts.answer_bytes
        self._missing = [range(at, min(at + size, total)) for at in range(0, total, size)]
        self._answer = bytearray(total)
        self._asked: dict[int, tuple[float, range]] = {}  # when a RUN had left and what it asks for, by its mark
        self._ask_at = self._wait = 0.0
        self._unasked_bytes = 0
        self._complete_at: float | None = None
        self._inputs_lost = 0
        self._there = 0  # places of the input that the board is known to have
        self._fruitless = 0

    def answer(self) -> bytes:
        """Send what is missing, again and again, until the answer is here; return its payload."""
        line, link = self._line, self._parts.link
        heard = answered = line.now()
        trouble: str | None = None
        while self._missing:
            self._send()
            for item in line.receive(self._pause()):
                if (breakage := breakage_of(item)) is not None:
                    trouble = breakage
                elif isinstance(item, Frame) and item.sequence == self._current.sequence:
                    heard = answered = line.now()
                    self._take(item)
            limit, now = self._parts.patience(), line.now()
            if now - answered >= limit.attempts * limit.seconds:
                raise link.no_answer(Request.RUN, self._current.runs, trouble)
            if now - heard >= limit.seconds:
                self._parts.on_silence()
                heard = line.now()
        return bytes(self._answer)

    # What is sent.

    def _send(self) -> None:
        """Send what there is to send now, but no more than the line takes soon, to heed what the board says."""
        current, line = self._current, self._line
        if current.runs == 0 and current.sent_bytes:
            self._ask_for_state()  # how much arrived of what was sent ahead?
        # To send twice what will hardly arrive, or what little is left, is cheaper than to wait for what is missing.
        survives = self._parts.noise.survives(wire_bytes(self._parts.noise.best_part()))
        copies = 1
        if current.was_sent:  # the noise is learned from what is sent once
            copies += (survives < _HARDLY) + (len(current.queue) <= _FEW_PLACES)
        while current.queue and self._parts.free < line.now() + _SOON_SECONDS:
            self._unasked_bytes += self._send_part(current, copies)
            if not current.queue:
                self._ask_for_state()
            elif self._unasked_bytes >= _BATCH_BYTES:
                self._ask(self._missing[0])
        if not current.queue and line.now() >= self._ask_at:
            self._remind()
        while self._may_send_ahead() and self._parts.free < line.now() + _SOON_SECONDS:
            assert self._following is not None
            self._send_part(self._following)

    def _may_send_ahead(self) -> bool:
        if self._following is None or not self._following.queue or not self._current.is_complete:
            return False
        room = self._ahead - 2 * _RUNS_AGAIN * _RUN_BYTES
        return self._following.sent_bytes + wire_bytes(self._parts.noise.best_part()) <= room

    def _send_part(self, of: _Input, copies: int = 1) -> int:
        part = of.next_part(self._parts.noise.best_part(), copies)
        for _ in range(copies):
            self._parts.send(part)
        return copies * wire_bytes(len(part.payload))

    def _ask(self, piece: range) -> None:
        run = self._current.next_run(piece)
        self._asked[run.mark] = self._parts.send(run), piece
        self._unasked_bytes = 0

    def _times(self, answer_bytes: int) -> int:
        """How often to ask so that an answer of `answer_bytes` bytes is likely to come."""
        survives = min(0.99, self._parts.noise.survives(_RUN_BYTES + answer_bytes))
        return max(1, min(_RUNS_AGAIN, round(math.log(_FAILURE) / math.log1p(-survives))))

    def _ask_for_state(self) -> None:
        for _ in range(self._times(_STATE_BYTES)):
            self._ask(self._missing[0])
        self._wait_for(self._short_wait)

    def _ask_for_pieces(self) -> None:
        pieces = self._missing[:_PIECES_AT_ONCE]
        for piece in pieces * self._times(wire_bytes(len(pieces[0]))):
            self._ask(piece)

    def _remind(self) -> None:
        """Ask again, because nothing came in time."""
        wait, compute = self._wait, self._parts.compute
        longest = max(4 * self._parts.round_trip, (self._parts.patience().due if compute is None else compute) / 4)
        if self._current.is_complete:
            self._ask_for_pieces()
        else:
            self._ask_for_state()
        self._wait_for(min(2 * wait, longest))

    @property
    def _short_wait(self) -> float:
        return 1.5 * self._parts.round_trip + _SHORTEST_WAIT

    def _wait_for(self, seconds: float) -> None:
        self._wait = seconds
        self._ask_at = max(self._line.now(), self._parts.free) + seconds

    def _pause(self) -> float:
        """How long to listen before there is something to send."""
        until = self._ask_at
        if self._current.queue or self._may_send_ahead():
            until = min(until, self._parts.free - _SOON_SECONDS / 2)
        return min(POLL_SECONDS, max(_SHORTEST_PAUSE, until - self._line.now()))

    # What arrives.

    def _take(self, item: Frame) -> None:
        left, piece = self._asked.pop(item.mark, (None, None))
        if left is not None and not self._current.is_complete:
            seconds = max(0.0, self._line.now() - left)
            self._parts.round_trip += 0.25 * (seconds - self._parts.round_trip)
        try:
            if self._parts.link.answers(item, Frame(Request.RUN, item.sequence)):
                self._take_piece(item.payload, piece)
            elif item.type == Request.PART + ANSWER:
                self._take_state(Parts.parse(item.payload), item.mark)
        except ProtocolError as error:
            raise self._parts.link.nonsense(error) from error

    def _take_piece(self, payload: bytes, piece: range | None) -> None:
        self._current.has_run()
        if self._complete_at is not None:
            seconds, before = self._line.now() - self._complete_at, self._parts.compute
            self._parts.compute = seconds if before is None else min(seconds, 1.1 * before)
            self._complete_at = None
        if piece is None or piece not in self._missing:
            return
        if len(payload) != len(piece):
            raise ProtocolError(f"a piece of {len(payload)} bytes instead of {len(piece)}")
        self._answer[piece.start : piece.stop] = payload
        self._missing.remove(piece)
        self._wait_for(self._short_wait)

    def _take_state(self, state: Parts, mark: int) -> None:
        parts, current = self._parts, self._current
        was_complete = current.is_complete
        parts.link.resent += current.learn(state, mark, parts.noise)
        there = state.first + sum(state.there[: max(0, current.places - state.first)])
        before, self._there = current.places if was_complete else self._there, there
        self._fruitless = 0 if there > before or current.is_complete else self._fruitless + 1
        if there < before:
            self._input_is_lost()
        elif self._fruitless == _FRUITLESS_STATES:
            raise DeviceError(
                f"the board answered {_FRUITLESS_STATES} times that nothing new of an input has arrived",
                where=parts.link.url,
                fix="use a better cable or a lower rate",
            )
        elif current.is_complete and not was_complete:
            self._complete_at = self._line.now()
            self._ask_for_pieces()
            self._wait_for(self._short_wait + (parts.compute or 0.0))

    def _input_is_lost(self) -> None:
        """Note that the board no longer has its parts: it was reset, or the input's CRC is not the one in RUN."""
        self._parts.on_silence()
        self._complete_at = None
        self._inputs_lost += 1
        if self._inputs_lost == _LOST_INPUTS:
            raise DeviceError("the board lost an input several times", where=self._parts.link.url)
