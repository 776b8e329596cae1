"""Confirmation on the device: the same inputs once more, every byte of the answers compared with the twin's."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tritguard.build import Build
from tritguard.campaign.answers import Answers
from tritguard.device import Device, Fleet, emulate, open_device, reinforced
from tritguard.device.fleet import Asked
from tritguard.emit import Bundle
from tritguard.errors import MismatchError
from tritguard.evaluate.samples import compared, differing
from tritguard.evaluate.study import Confirmation, Quarantined
from tritguard.predictor import Int8, Outputs
from tritguard.processes import cores
from tritguard.progress import Progress
from tritguard.twin import Twin

_MAIN, _AGAIN = "asked", "asked again over the UART"
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
        quarantined: the boards whose work others took over.
        lent: how many inputs each board of another machine answered, for those that answered any.
    """

    outputs: Outputs
    resent_frames: int
    bulk_inputs: int
    uart_again: int
    seconds: float
    quarantined: tuple[Quarantined, ...] = ()
    lent: tuple[int, ...] = ()

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
            quarantined=self.quarantined,
            lent_boards=len(self.lent),
            lent_inputs=sum(self.lent),
        )


def ask(
    device: Device,
    x: Int8,
    progress: Progress,
    *,
    campaign: Path | None = None,
    boards: int = 0,
    others: Sequence[Asked] = (),
) -> Answered:
    """Ask a device for its answers to inputs.

    An emulated board on the bulk line is helped by more of its kind, and a share of the inputs goes over the UART too:
    every 50th and at least 16, or all if there are fewer.

    Args:
        device: the device.
        x: int8[n, *input_shape].
        progress: called with (inputs answered, n).
        campaign: the file that keeps answers as they come, until all are there: an interrupted run goes on from them.
        boards: how many emulated boards share the work; by default one for each core, if there is enough of it.
        others: boards of other machines that share it too, of the device's kind: real ones, or emulated ones.

    Raises:
        DeviceError: the device stopped answering.
        MismatchError: an answer or its ticks differ between the lines.
    """
    start, twin = time.perf_counter(), Twin(device.bundle)
    boards = boards or max(1, min(cores(), len(x) // _WORTH_A_BOARD))
    with (
        _Kept(device, _MAIN, campaign) as main,
        _Kept(device, _AGAIN, campaign) as again,
        reinforced(device, boards, twin.predict, others) as fleet,
        ThreadPoolExecutor(1) as pool,
    ):
        resent = fleet.resent_frames
        share = _share(len(x)) if device.bulk else np.zeros(0, np.int64)
        checking = pool.submit(_over_uart, device, x[share], again) if device.bulk else None
        outputs = main.complete(x, fleet, progress)
        if checking is not None:
            check_lines(device.build, outputs.chosen(share), checking.result())
        resent = fleet.resent_frames - resent
        sick = tuple(Quarantined(**asdict(one)) for one in fleet.sick)
        lent = tuple(count for one in others if (count := fleet.answered[one.name]))
        main.clear()
        again.clear()
    seconds = time.perf_counter() - start
    return Answered(outputs, resent, len(x) if device.bulk else 0, len(share), seconds, sick, lent)


class _Kept:
    """A firmware's answers to inputs over one line, including those that an earlier, interrupted run left."""

    def __init__(self, device: Device, line: str, campaign: Path | None) -> None:
        manifest, board = device.bundle.manifest, f"{device.build.record.board.id}, {device.kind}"
        identity = f"{device.hello.build_id} on {board}, {device.bundle.sha256}, {line}"
        frame = prod(manifest.output.shape) if manifest.state_bytes else None
        if frame is not None:  # earlier versions kept only the answers to a stream's last frame
            identity += ", frames"
        threshold = manifest.label_rule.threshold_steps
        self._answers = None if campaign is None else Answers(campaign, identity, threshold, frame)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._answers is not None:
            self._answers.close()

    def complete(self, x: Int8, fleet: Fleet, progress: Progress | None = None) -> Outputs:
        """The answers to x, int8[n, *input_shape]; the fleet is asked for those that are not kept."""
        if self._answers is None:
            return fleet.predict(x, progress)
        answers = self._answers
        known, found = answers.recall(x)
        left = np.flatnonzero(~known)
        before = len(x) - len(left)
        if len(left) == 0 and found is not None:
            return found

        def keep(part: slice, outputs: Outputs, board: str) -> None:
            answers.keep(x[left[part]], outputs, board)

        def told(done: int, _left: int) -> None:
            if progress is not None:
                progress(before + done, len(x))

        fresh = fleet.predict(x[left], told, keep)
        if found is None:
            return fresh
        places = np.argsort(np.concatenate([np.flatnonzero(known), left]))
        return Outputs.joined([found, fresh]).chosen(places)

    def clear(self) -> None:
        """Forget what was kept, because the confirmation is complete."""
        if self._answers is not None:
            self._answers.clear()


def _share(count: int) -> NDArray[np.int64]:
    """The places, among `count` inputs, of those that go over the UART too."""
    chosen = min(count, max(_UART_LEAST, -(-count // _UART_STEP)))
    return np.arange(chosen) * count // max(chosen, 1)


def _over_uart(device: Device, x: Int8, kept: _Kept) -> Outputs:
    with emulate(device.bundle, device.build, bulk=False) as uart:
        return kept.complete(x, Fleet([uart]))


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
    """Start the emulated board, give it the inputs, and compare its answers with the twin's.

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
