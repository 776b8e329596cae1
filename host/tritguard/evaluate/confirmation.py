"""Confirmation on the device: the same inputs once more, every byte of the answers compared with the twin's."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritguard.build import Build
from tritguard.device import Device, emulate, open_device, reinforced
from tritguard.emit import Bundle
from tritguard.errors import MismatchError
from tritguard.evaluate.samples import compared, differing
from tritguard.evaluate.study import Confirmation
from tritguard.predictor import Int8, Outputs
from tritguard.processes import cores
from tritguard.progress import Progress
from tritguard.twin import Twin

_UART_STEP = 50
_UART_LEAST = 16
_WORTH_A_BOARD = 64  # inputs that take longer than another emulated board takes to start


@dataclass(frozen=True)
class Answered:
    """What a device answered.

    Attributes:
        outputs: its answers.
        resent_frames: how many requests had to be sent again.
        bulk_inputs: how many inputs went over the bulk line.
        uart_again: how many of those went over the UART too.
        seconds: the time that it took.
    """

    outputs: Outputs
    resent_frames: int
    bulk_inputs: int
    uart_again: int
    seconds: float

    def confirmation(self, ours: Outputs) -> Confirmation:
        """Compare the answers with the twin's."""
        return Confirmation(
            inputs=len(self.outputs.scores),
            bytes_compared=compared(self.outputs),
            mismatched_inputs=differing(ours, self.outputs),
            resent_frames=self.resent_frames,
            bulk_inputs=self.bulk_inputs,
            uart_again=self.uart_again,
            seconds=self.seconds,
        )


def ask(device: Device, x: Int8, progress: Progress) -> Answered:
    """Ask a device for the inputs.

    An emulated board on the bulk line is helped by more of its kind, one for each core, and a share of the inputs goes
    over the UART too: every 50th and at least 16, or all if there are fewer.

    Args:
        device: the device.
        x: int8[n, *input_shape].
        progress: called with (inputs answered, n).

    Raises:
        DeviceError: the device stopped answering.
        MismatchError: an answer or its ticks differ between the lines.
    """
    start, resent = time.perf_counter(), device.resent_frames
    if not device.bulk:
        outputs = device.predict(x, progress)
        return Answered(outputs, device.resent_frames - resent, 0, 0, time.perf_counter() - start)
    share = _share(len(x))
    boards = max(1, min(cores(), len(x) // _WORTH_A_BOARD))
    with reinforced(device, boards) as fleet, ThreadPoolExecutor(1) as pool:
        again = pool.submit(_over_uart, device, x[share])
        outputs = fleet.predict(x, progress)
        check_lines(device.build, outputs.chosen(share), again.result())
        return Answered(outputs, fleet.resent_frames - resent, len(x), len(share), time.perf_counter() - start)


def _share(count: int) -> NDArray[np.int64]:
    """The places of the inputs, of `count`, that go over the UART too."""
    chosen = min(count, max(_UART_LEAST, -(-count // _UART_STEP)))
    return np.arange(chosen) * count // max(chosen, 1)


def _over_uart(device: Device, x: Int8) -> Outputs:
    with emulate(device.bundle, device.build, bulk=False) as uart:
        return uart.predict(x)


def check_lines(build: Build, bulk: Outputs, uart: Outputs) -> None:
    """Compare the answers to the same inputs over the bulk line and over the UART, ticks included.

    Raises:
        MismatchError: they differ.
    """
    if differing(bulk, uart) or _ticks(bulk) != _ticks(uart):
        raise MismatchError("the board's answers over the bulk line and over the UART differ", where=str(build.elf))


def _ticks(outputs: Outputs) -> list[int] | None:
    return None if outputs.ticks is None else outputs.ticks.tolist()


def confirm(bundle: Bundle, build: Build, x: Int8, progress: Progress) -> Confirmation:
    """Start the emulated board, ask it for the inputs, and compare its answers with the twin's.

    Args:
        bundle: the deployed model.
        build: its firmware, for an emulated board.
        x: int8[n, *input_shape].
        progress: called with (inputs answered, n).

    Raises:
        DeviceError, WrongFirmwareError: see `open_device`.
        MismatchError: see `ask`.
    """
    with open_device(bundle, build) as device:
        return ask(device, x, progress).confirmation(Twin(bundle).predict(x))
