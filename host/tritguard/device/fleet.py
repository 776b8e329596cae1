"""Several boards with the same firmware, as one Predictor: they share the inputs out among themselves."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from typing_extensions import override

from tritguard.device.board import Device
from tritguard.device.opening import emulate
from tritguard.errors import DeviceError
from tritguard.predictor import Int8, Outputs, Predictor
from tritguard.progress import Progress

# Inputs that a board takes at a time: few enough that all boards end at nearly the same time and that an interruption
# costs little, many enough that the pause between two parts does not matter on a line that is slower than the board.
_PARTS = (16, 128)
_SHARES = 4  # parts of the inputs for each board
_PROBES = 16  # inputs that all boards are given

Kept = Callable[[slice, Outputs, str], None]
"""Called with the places of a few inputs, the answers to them, and the name of the board that gave them; never by two
threads at a time."""


@dataclass(frozen=True)
class Sick:
    """A board that is asked no more.

    Attributes:
        board: where it is.
        reason: what it did.
        disagreed: whether it answered other bytes than the other boards, rather than nothing.
    """

    board: str
    reason: str
    disagreed: bool = False


class Asked(Protocol):
    """What a fleet asks: a board of this machine or of another one.

    Attributes:
        resent_frames: how many requests had to be sent again.
    """

    @property
    def name(self) -> str:
        """Where it is."""
        ...

    @property
    def resent_frames(self) -> int:
        """See the class."""
        ...

    def predict(self, x: Int8) -> Outputs:
        """Run the model on int8[n, *input_shape].

        Raises:
            DeviceError: the board failed.
        """
        ...


class Fleet(Predictor):
    """Boards that run the same firmware.

    A board that falls silent, crashes or is unplugged, or that answers the same inputs otherwise than the others do, is
    asked no more; the others take over what it had. So a fleet answers as long as one board is left.

    Args:
        devices: at least one. The caller closes them.
        judge: decides between boards if most do not agree: gives the right outputs for int8[n, *input_shape].

    Attributes:
        sick: the boards that are asked no more.
        answered: how many inputs each board answered, by its name.
    """

    def __init__(self, devices: Sequence[Asked], judge: Callable[[Int8], Outputs] | None = None) -> None:
        self.devices = tuple(devices)
        self.sick: list[Sick] = []
        self.answered: Counter[str] = Counter()
        self._well = list(devices)
        self._judge = judge
        self._lock = threading.Lock()

    @property
    def resent_frames(self) -> int:
        """How many requests had to be sent again, to all boards."""
        return sum(device.resent_frames for device in self.devices)

    @override
    def predict(self, x: Int8, progress: Progress | None = None, kept: Kept | None = None) -> Outputs:
        """Run the model on the inputs; each board takes the next few whenever it is free.

        Args:
            x: the inputs, int8[n, *input_shape].
            progress: called with (done, n) at the start and after every few inferences, never by two threads at a time.
            kept: called with the answers as they come.

        Raises:
            BadInputError: see `Device.predict`.
            DeviceError: no board is left, and it says what the last one did; or the boards answer differently, and
                neither most of them nor the judge tell which are right.
        """
        least, most = _PARTS
        part = max(least, min(most, len(x) // (_SHARES * max(1, len(self._well)))))
        work = _Work(x, part, progress, kept)
        self._compare(x)
        while not work.done:
            if not self._well:
                raise DeviceError(f"no board is left ({self.sick[-1].reason})", where=self.sick[-1].board)
            with ThreadPoolExecutor(len(self._well)) as pool:
                try:
                    for ended in [pool.submit(self._work, device, work) for device in self._well]:
                        ended.result()
                except BaseException:
                    work.stop()
                    raise
        return work.answers()

    def _work(self, device: Asked, work: _Work) -> None:
        """Have a board answer until nothing waits, or until it fails; its part then waits again."""
        while (part := work.take()) is not None:
            try:
                answer = device.predict(work.x[part])
            except DeviceError as error:
                work.give_back(part)
                self._quarantine(device, str(error))
                return
            work.finish(part, answer, device.name)
            with self._lock:
                self.answered[device.name] += len(answer.scores)

    def _quarantine(self, device: Asked, reason: str, *, disagreed: bool = False) -> None:
        with self._lock:
            self._well = [other for other in self._well if other is not device]
            self.sick.append(Sick(device.name, reason, disagreed))

    def _compare(self, x: Int8) -> None:
        """Give some inputs to all boards, and leave out the boards that do not answer as most do."""
        if len(self._well) < 2 or len(x) == 0:
            return
        probes = x[np.unique(np.linspace(0, len(x) - 1, min(_PROBES, len(x))).astype(int))]
        said: dict[Asked, Outputs] = {}

        def probe(device: Asked) -> None:
            try:
                said[device] = device.predict(probes)
            except DeviceError as error:
                self._quarantine(device, str(error))

        with ThreadPoolExecutor(len(self._well)) as pool:
            for answered in [pool.submit(probe, device) for device in self._well]:
                answered.result()
        logits = all(answer.logits is not None for answer in said.values())
        votes = {device: _bytes(answer, logits) for device, answer in said.items()}
        right = self._right(list(votes.values()), probes, logits)
        for device, vote in votes.items():
            if vote != right:
                self._quarantine(device, "answers the same inputs otherwise than the other boards", disagreed=True)

    def _right(self, votes: Sequence[bytes], probes: Int8, logits: bool) -> bytes | None:
        """What most boards answered or, where no answer is that of most, the one that the judge confirms."""
        ranked = Counter(votes).most_common()
        most = [vote for vote, count in ranked if count == ranked[0][1]]
        if len(most) < 2:
            return most[0] if most else None
        if self._judge is not None and (judged := _bytes(self._judge(probes), logits)) in most:
            return judged
        what = "the boards answer the same inputs differently, and nothing tells which of them is right"
        names = ", ".join(device.name for device in self._well)
        raise DeviceError(what, where=names, fix="flash all boards again, and ask each of them alone")


class _Work:
    """Inputs that are shared out in parts, and the answers to them.

    Attributes:
        x: int8[n, *input_shape].
    """

    def __init__(self, x: Int8, part: int, progress: Progress | None, kept: Kept | None) -> None:
        self.x = x
        self._progress, self._kept = progress, kept
        self._waiting = deque(slice(start, min(start + part, len(x))) for start in range(0, max(len(x), 1), part))
        self._answers: dict[int, Outputs] = {}
        self._parts, self._done = len(self._waiting), 0
        self._lock = threading.Lock()
        if progress is not None:
            progress(0, len(x))

    @property
    def done(self) -> bool:
        """Whether all parts are answered."""
        return len(self._answers) == self._parts

    def take(self) -> slice | None:
        """The next part; None if none waits."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def give_back(self, part: slice) -> None:
        """Let a part wait again."""
        with self._lock:
            self._waiting.appendleft(part)

    def stop(self) -> None:
        """Let no part wait any more."""
        with self._lock:
            self._waiting.clear()

    def finish(self, part: slice, answer: Outputs, board: str) -> None:
        """Take the answers to a part."""
        with self._lock:
            if self._kept is not None:
                self._kept(part, answer, board)
            self._answers[part.start] = answer
            self._done += part.stop - part.start
            if self._progress is not None:
                self._progress(self._done, len(self.x))

    def answers(self) -> Outputs:
        """All answers, in the order of the inputs."""
        return Outputs.joined([self._answers[start] for start in sorted(self._answers)])


def _bytes(outputs: Outputs, logits: bool) -> bytes:
    """What has to be the same on all boards: every byte answered, and the logits if all give them, but not the time."""
    said = outputs.answered.tobytes()
    return said + outputs.logits.tobytes() if logits and outputs.logits is not None else said


@contextmanager
def reinforced(
    device: Device, boards: int, judge: Callable[[Int8], Outputs] | None = None, others: Sequence[Asked] = ()
) -> Iterator[Fleet]:
    """Start more emulated boards of the device's kind, if it is an emulated one on the bulk line.

    Emulated boards count instructions, so each answers with the same bytes and ticks, and the time that a fleet takes
    says nothing about the board. A real board stays alone.

    Args:
        device: the device.
        boards: how many there are then, this one included.
        judge: see `Fleet`.
        others: boards of other machines that help.

    Raises:
        ToolMissingError, DeviceError: see `emulate`.
    """
    more = boards - 1 if device.bulk else 0
    with ExitStack() as stack:
        more_here = [stack.enter_context(emulate(device.bundle, device.build)) for _ in range(more)]
        yield Fleet([device, *more_here, *others], judge)
