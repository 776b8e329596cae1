"""Several boards with the same firmware, as one Predictor: they share the inputs out among themselves."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from typing_extensions import override

from tritguard.device.board import Device, emulate
from tritguard.predictor import Int8, Outputs, Predictor
from tritguard.progress import Progress

_PART = 16  # inputs that a board takes at a time, so that all boards end at nearly the same time


class Fleet(Predictor):
    """Boards that run the same firmware.

    Args:
        devices: at least one. They stay the caller's to close.
    """

    def __init__(self, devices: Sequence[Device]) -> None:
        self.devices = tuple(devices)

    @property
    def resent_frames(self) -> int:
        """How many requests had to be sent again, to all boards."""
        return sum(device.resent_frames for device in self.devices)

    @override
    def predict(self, x: Int8, progress: Progress | None = None) -> Outputs:
        """Run the model on the inputs; each board takes the next few whenever it is free.

        Args:
            x: the inputs, int8[n, *input_shape].
            progress: called with (done, n) at the start and after every few inferences, never by two threads at a time.

        Raises:
            BadInputError, DeviceError: see `Device.predict`. The other boards stop after the inputs that they have.
        """
        starts = list(range(0, len(x), _PART)) or [0]
        waiting, answers = iter(starts), dict[int, Outputs]()
        lock, failed = threading.Lock(), threading.Event()

        def next_start() -> int | None:
            with lock:
                return None if failed.is_set() else next(waiting, None)

        def work(device: Device) -> None:
            try:
                while (start := next_start()) is not None:
                    answer = device.predict(x[start : start + _PART])
                    with lock:
                        answers[start] = answer
                        if progress is not None:
                            progress(min(len(x), _PART * len(answers)), len(x))
            except BaseException:
                failed.set()
                raise

        if progress is not None:
            progress(0, len(x))
        with ThreadPoolExecutor(len(self.devices)) as pool:
            for done in [pool.submit(work, device) for device in self.devices]:
                done.result()
        return Outputs.joined([answers[start] for start in starts])


@contextmanager
def reinforced(device: Device, boards: int) -> Iterator[Fleet]:
    """Start more emulated boards of the device's kind, if it is an emulated one on the bulk line.

    Emulated boards count instructions, so each answers with the same bytes and ticks, and the time that a fleet takes
    says nothing of the board. A real board stays alone.

    Args:
        device: the device.
        boards: how many there are then, this one included.

    Raises:
        ToolMissingError, DeviceError: see `emulate`.
    """
    more = boards - 1 if device.bulk else 0
    with ExitStack() as stack:
        yield Fleet([device, *(stack.enter_context(emulate(device.bundle, device.build)) for _ in range(more))])
