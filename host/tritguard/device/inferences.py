"""Runs a model over a link, in the way that suits the line: whole inputs in a window, or in parts where it is noisy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tritguard.device.link import ANSWER_SECONDS, Link, Patience
from tritguard.device.noise import Noise
from tritguard.device.parts import ANSWER_BYTES_MAX, PartsLink
from tritguard.device.protocol import Request, wire_bytes
from tritguard.device.rate import Rate

# The next inference may take this many times as long as the slowest one so far.
_PATIENCE = 8
_DUE = 1.5
_DUE_SECONDS = 0.05
# No board is waited for longer than this, whatever clock it says it has and however slow it was before.
_LONGEST_SECONDS = 600.0


class _NoisyError(Exception):
    """The line loses so much that sending whole inputs no longer pays."""


class Inferences:
    """Asks one board for inferences.

    Args:
        link: the link to it.
        rate: the line's rate; None if it has none, like the bulk line.
        ahead: how many bytes the board may be sent, and keeps, while it computes.
        answer_bytes: how many bytes the answer of an inference has.
        estimate: gives an upper estimate of the time of the first inference, in seconds.
        on_silence: called when nothing came for a long time; it may raise to give up.
    """

    def __init__(
        self,
        link: Link,
        rate: Rate | None,
        ahead: int,
        answer_bytes: int,
        estimate: Callable[[], float],
        on_silence: Callable[[], None],
    ) -> None:
        self._link = link
        self._rate = rate
        self._ahead = ahead
        self._estimate = estimate
        self._on_silence = on_silence
        self._slowest = 0.0
        self._noise = Noise()
        self._parts = (
            None
            if rate is None or answer_bytes > ANSWER_BYTES_MAX
            else PartsLink(link, self._noise, answer_bytes, lambda: rate.byte_seconds, self.patience, on_silence)
        )

    def patience(self) -> Patience:
        """How long to wait for an inference."""
        # A slow emulator's speed depends on the machine's other work, so its earlier times say little.
        least = self._estimate() if self._link.line.slack else 0.0
        usual = max(self._slowest or self._estimate(), least)
        seconds = ANSWER_SECONDS + max(_PATIENCE * self._slowest or usual, least)
        seconds, due = min(_LONGEST_SECONDS, seconds), _DUE * usual + _DUE_SECONDS
        if self._ahead:
            return Patience(seconds, due=due)
        # What it receives while it computes changes an emulated board's ticks, and a framework may not keep it.
        return Patience(seconds, due=seconds, broken=due)

    def ask(self, request: Request, sample: bytes) -> bytes:
        """Send one request that takes as long as an inference; return the payload of its answer.

        Raises:
            DeviceError: see `Link.ask`.
        """
        start, resent = self._link.line.now(), self._link.resent
        answer = self._link.ask(request, sample, self.patience(), on_silence=self._on_silence)
        self._take_time(start, resent)
        return answer

    def run(self, samples: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
        """Run the model on samples.

        Yields:
            The position of a sample and the payload of its answer, in any order.

        Raises:
            DeviceError: see `Link.ask_all`.
        """
        todo = list(range(len(samples)))
        while todo:
            in_parts = self._parts is not None and self._noise.favours_parts(len(samples[todo[0]]))
            if in_parts and self._rate is not None and self._rate.can_fall:
                self._rate.fall(2 * self.patience().seconds)
                self._noise.forget()
                continue
            answers = self._in_parts if in_parts else self._whole
            done = set()
            for at, answer in answers([samples[i] for i in todo]):
                yield todo[at], answer
                done.add(todo[at])
            todo = [i for i in todo if i not in done]

    def run_stream(self, frames: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
        """Run a model with state on the frames of one stream, from the initial state on, one after the other.

        A frame that is sent again does not move the state a second time: the board answers it as before.

        Yields:
            The position of a frame and the payload of its answer, in order.

        Raises:
            DeviceError: see `Link.ask_all`; also if the board lost its state in between.
        """
        self._link.ask(Request.RESET, on_silence=self._on_silence)
        start, resent = self._link.line.now(), self._link.resent
        for at, answer in self._link.ask_all(
            Request.INFER, frames, self.patience, numbered=True, on_silence=self._on_silence
        ):
            self._take_time(start, resent)
            yield at, answer
            start, resent = self._link.line.now(), self._link.resent

    def _in_parts(self, samples: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
        """Yield answers until all are there, or the line is so quiet that whole inputs cost less."""
        assert self._parts is not None
        for at, answer in self._parts.ask_all(samples, self._ahead):
            yield at, answer
            if not self._noise.favours_parts(len(samples[at])):
                return

    def _whole(self, samples: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
        """Yield answers until all are there, or the line is so noisy that parts cost less."""
        start, resent = self._link.line.now(), self._link.resent
        try:
            for at, answer in self._link.ask_all(
                Request.INFER,
                samples,
                self.patience,
                ahead=self._ahead,
                on_silence=self._on_silence,
                on_loss=self._take_loss,
            ):
                self._noise.learn(wire_bytes(len(samples[at])), lost=False)
                self._take_time(start, resent)
                yield at, answer
                start, resent = self._link.line.now(), self._link.resent
        except _NoisyError:
            return

    def _take_time(self, start: float, resent: int) -> None:
        if self._link.resent == resent:  # otherwise the time is not that of a single inference
            self._slowest = max(self._slowest, self._link.line.now() - start)

    def _take_loss(self, size: int) -> None:
        self._noise.learn(wire_bytes(size), lost=True)
        if self._parts is not None and self._noise.favours_parts(size):
            raise _NoisyError
