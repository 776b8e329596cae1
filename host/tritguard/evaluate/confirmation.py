"""Confirmation on the device: the same inputs once more, every byte of the answers compared with the twin's."""

from __future__ import annotations

import time

import numpy as np

from tritguard.build import Build
from tritguard.device import Device, emulate, open_device
from tritguard.emit import Bundle
from tritguard.errors import MismatchError
from tritguard.evaluate.samples import compared, differing
from tritguard.evaluate.study import Confirmation
from tritguard.predictor import Int8, Outputs
from tritguard.progress import Progress
from tritguard.twin import Twin

_UART_STEP = 50
_UART_LEAST = 16


def confirm(bundle: Bundle, build: Build, x: Int8, progress: Progress) -> Confirmation:
    """Start the emulated board, send it the inputs, and compare its answers with the twin's.

    A share of the inputs goes over the UART too; see `count_lines`.

    Args:
        bundle: the deployed model.
        build: its firmware, for an emulated board.
        x: int8[n, *input_shape].
        progress: called with (inputs answered, n).

    Raises:
        DeviceError, WrongFirmwareError: see `open_device`.
        MismatchError: see `count_lines`.
    """
    with open_device(bundle, build) as device:
        return compare(device, x, progress)[0]


def compare(device: Device, x: Int8, progress: Progress) -> tuple[Confirmation, Outputs]:
    """Ask a device for the inputs, x: int8[n, *input_shape], and compare its answers with the twin's.

    Args:
        device: the device, emulated or not; a share of the inputs goes over an emulated one's UART too.
        x: the inputs.
        progress: called with (inputs answered, n).

    Returns:
        The comparison, and the device's answers.

    Raises:
        DeviceError: the device stopped answering.
        MismatchError: see `count_lines`.
    """
    ours, start, resent = Twin(device.bundle).predict(x), time.perf_counter(), device.resent_frames
    theirs = device.predict(x, progress)
    resent = device.resent_frames - resent
    bulk, again = count_lines(device, x, theirs)
    confirmation = Confirmation(
        inputs=len(x),
        bytes_compared=compared(theirs),
        mismatched_inputs=differing(ours, theirs),
        resent_frames=resent,
        bulk_inputs=bulk,
        uart_again=again,
        seconds=time.perf_counter() - start,
    )
    return confirmation, theirs


def count_lines(device: Device, x: Int8, outputs: Outputs) -> tuple[int, int]:
    """Ask for a share of the inputs again over the UART, if the device was asked over the bulk line.

    The share is every 50th input and at least 16, or all if there are fewer.

    Args:
        device: the device that answered.
        x: int8[n, *input_shape].
        outputs: its n answers.

    Returns:
        How many of the inputs were answered over the bulk line, and how many of those over the UART too.

    Raises:
        MismatchError: an answer or its ticks differ between the lines.
        DeviceError: see `emulate`.
    """
    if not device.bulk:
        return 0, 0
    count = min(len(x), max(_UART_LEAST, -(-len(x) // _UART_STEP)))
    share = np.arange(count) * len(x) // max(count, 1)
    with emulate(device.bundle, device.build, bulk=False) as uart:
        again = uart.predict(x[share])
    expected = Outputs(
        outputs.scores[share],
        None if outputs.logits is None else outputs.logits[share],
        None if outputs.ticks is None else outputs.ticks[share],
    )
    if differing(expected, again) or _ticks(expected) != _ticks(again):
        raise MismatchError(
            "the board's answers over the bulk line and over the UART differ", where=str(device.build.elf)
        )
    return len(x), count


def _ticks(outputs: Outputs) -> list[int] | None:
    return None if outputs.ticks is None else outputs.ticks.tolist()
