"""Confirmation on the device: the same inputs once more, every byte of the answers compared with the twin's."""

from __future__ import annotations

import time

from tritguard.build import Build
from tritguard.device import open_device
from tritguard.emit import Bundle
from tritguard.evaluate.samples import compared, differing
from tritguard.evaluate.study import Confirmation
from tritguard.predictor import Int8
from tritguard.progress import Progress
from tritguard.twin import Twin


def confirm(bundle: Bundle, build: Build, x: Int8, progress: Progress) -> Confirmation:
    """Start the emulated board, send it the inputs, and compare its answers with the twin's.

    Args:
        bundle: the deployed model.
        build: its firmware, for an emulated board.
        x: int8[n, *input_shape].
        progress: called with (inputs answered, n).

    Raises:
        DeviceError, WrongFirmwareError: see `open_device`.
    """
    ours, start = Twin(bundle).predict(x), time.perf_counter()
    with open_device(bundle, build) as device:
        theirs = device.predict(x, progress)
        resent = device.resent_frames
    return Confirmation(
        inputs=len(x),
        bytes_compared=compared(theirs),
        mismatched_inputs=differing(ours, theirs),
        resent_frames=resent,
        seconds=time.perf_counter() - start,
    )
