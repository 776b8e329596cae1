"""Sparse lists: convolutions whose ternary weights become additions, of two pixels at once, or of four in two.

firmware/kernels/tg_lists.h draws the layout of lists and of planes of words, for cores that only add, and proves the
bounds kept here; tg_taps.h does so for planes of bytes, for cores with SXTAB16.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tritguard.graph.formats.planes import planes_of
from tritguard.graph.model import Conv2D, Int8, Int32

TILE = 4  # words
MAX_STEPS = 128  # of one sign in a run
MAX_RUNS = 255  # of a channel
MAX_GAP = 255  # units
MAX_NONZEROS = 255  # of a channel over planes of bytes
BYTES_TILE = 16  # positions
_MOST_WORDS_SCRATCH = 12 * 1024
_MOST_BYTES_SCRATCH = 6 * 1024


@dataclass(frozen=True, eq=False)
class SparseLists:
    """A convolution's nonzero weights as lists of steps.

    Attributes:
        lists: uint8, channel behind channel.
        surplus: int32[channels], steps of +1 less steps of -1.
        steps: steps of all channels.
        runs: runs of all channels.
        pitch: positions from one output row to the next.
        half: words of a band, each two positions.
        plane_words: words of one phase of one channel.
        unit_words: words that a step of one crosses.
        band_rows: output rows of a band.
        band_input_rows: input rows that a band reads.
        scratch_bytes: planes and a band's sums.
    """

    lists: NDArray[np.uint8]
    surplus: Int32
    steps: int
    runs: int
    pitch: int
    half: int
    plane_words: int
    unit_words: int
    band_rows: int
    band_input_rows: int
    scratch_bytes: int

    @property
    def nbytes(self) -> int:
        """Flash of lists and magnitudes."""
        return int(self.lists.nbytes) + len(self.surplus)


def pack_lists(op: Conv2D, trits: Int8, source: tuple[int, int], room: int) -> SparseLists | None:
    """Pack int8[channels, kernel_h, kernel_w, in] trits, for the tallest bands whose planes stay small.

    None where a channel has more runs than a byte counts.

    Args:
        op: the layer.
        trits: in {-1, 0, 1}.
        source: height and width of the input.
        room: bytes that the scratch may take; a band of one row may take more.
    """
    window, (height, width, channels) = op.window, op.out_shape
    inputs = int(trits.shape[-1])
    planes = planes_of(window, (height, width), source)

    def half_of(rows: int) -> int:
        return -(-((rows - 1) * planes.pitch + width) // (2 * TILE)) * TILE

    def plane_of(rows: int) -> int:
        return half_of(rows) + int(planes.offset.max())

    def scratch_of(rows: int) -> int:
        return 4 * (inputs * planes.phases * plane_of(rows) + 2 * half_of(rows))

    most = min(room, _MOST_WORDS_SCRATCH)
    band_rows = max((rows for rows in range(1, height + 1) if scratch_of(rows) <= most), default=1)
    bands = -(-height // band_rows)
    band_rows = -(-height // bands)
    plane_words = plane_of(band_rows)
    reads = (np.arange(inputs) * planes.phases + planes.phase[:, None]) * plane_words + planes.offset[:, None]
    # Trits are [kernel_h, kernel_w, in], and so are the words that they read.
    unit = int(np.gcd.reduce(reads, axis=None)) or 1
    channel_runs = []
    for row in trits.reshape(channels, -1):
        runs = _runs(reads.ravel() // unit, row)
        if runs is None:
            return None
        channel_runs.append(runs)
    return SparseLists(
        lists=np.frombuffer(b"".join(map(_encode, channel_runs)), dtype=np.uint8),
        surplus=np.array([sum(len(p) - len(m) for m, p in each) for each in channel_runs], dtype=np.int32),
        steps=sum(len(m) + len(p) for each in channel_runs for m, p in each),
        runs=sum(map(len, channel_runs)),
        pitch=planes.pitch,
        half=half_of(band_rows),
        plane_words=plane_words,
        unit_words=unit,
        band_rows=band_rows,
        band_input_rows=(band_rows - 1) * window.stride[0] + (window.kernel[0] - 1) * window.dilation[0] + 1,
        scratch_bytes=scratch_of(band_rows),
    )


@dataclass(frozen=True, eq=False)
class StepLists:
    """A convolution's nonzero weights as lists of steps over planes of bytes.

    Attributes:
        lists: uint8, channel behind channel.
        channels: output channels.
        steps: steps of all channels.
        pitch: positions from one output row to the next.
        positions: of a band, in whole tiles.
        plane_bytes: one phase of one channel.
        unit_bytes: bytes that a step of one crosses.
        band_rows: output rows of a band.
        band_input_rows: input rows that a band reads.
        scratch_bytes: planes and a band's sums.
    """

    lists: NDArray[np.uint8]
    channels: int
    steps: int
    pitch: int
    positions: int
    plane_bytes: int
    unit_bytes: int
    band_rows: int
    band_input_rows: int
    scratch_bytes: int

    @property
    def nbytes(self) -> int:
        """Flash of lists and magnitudes."""
        return int(self.lists.nbytes) + self.channels


def pack_steps(op: Conv2D, trits: Int8, source: tuple[int, int], room: int) -> StepLists | None:
    """Pack int8[channels, kernel_h, kernel_w, in] trits; None where a channel's sums or lists are too long.

    Args:
        op: the layer.
        trits: in {-1, 0, 1}.
        source: height and width of the input.
        room: bytes that the scratch may take; a band of one row may take more.
    """
    window, (height, width, channels) = op.window, op.out_shape
    inputs = int(trits.shape[-1])
    planes = planes_of(window, (height, width), source)

    def positions_of(rows: int) -> int:
        return -(-((rows - 1) * planes.pitch + width) // BYTES_TILE) * BYTES_TILE

    def plane_of(rows: int) -> int:
        return -(-(positions_of(rows) + int(planes.offset.max())) // 4) * 4

    def scratch_of(rows: int) -> int:
        return inputs * planes.phases * plane_of(rows) + 2 * positions_of(rows)

    most = min(room, _MOST_BYTES_SCRATCH)
    fitting = [rows for rows in range(1, height + 1) if scratch_of(rows) <= most] or [1]
    band_rows = min(fitting, key=lambda rows: (-(-height // rows) * positions_of(rows), -rows))
    plane = plane_of(band_rows)
    reads = (np.arange(inputs) * planes.phases + planes.phase[:, None]) * plane + planes.offset[:, None]
    unit = int(np.gcd.reduce(reads, axis=None)) or 1
    rows = trits.reshape(channels, -1)
    lists = [_bridged(*(np.sort(reads.ravel()[row == sign] // unit).tolist() for sign in (-1, 1))) for row in rows]
    if np.count_nonzero(rows, axis=1).max() > MAX_NONZEROS or max(len(each) for run in lists for each in run) > MAX_GAP:
        return None
    return StepLists(
        lists=np.frombuffer(b"".join(_encode([run])[1:] for run in lists), dtype=np.uint8),
        channels=channels,
        steps=sum(len(each) for run in lists for each in run),
        pitch=planes.pitch,
        positions=positions_of(band_rows),
        plane_bytes=plane,
        unit_bytes=unit,
        band_rows=band_rows,
        band_input_rows=(band_rows - 1) * window.stride[0] + (window.kernel[0] - 1) * window.dilation[0] + 1,
        scratch_bytes=scratch_of(band_rows),
    )


def _runs(reads: NDArray[np.int64], trits: Int8) -> list[tuple[list[int], list[int]]] | None:
    """A channel's words to take away and to add, sorted, in as few runs as the bound allows; None: more than fit."""
    minus, plus = (np.sort(reads[trits == sign]) for sign in (-1, 1))
    fewest = max(1, -(-max(len(minus), len(plus)) // MAX_STEPS))
    for count in range(fewest, MAX_RUNS + 1):
        runs = [_bridged(minus[first::count].tolist(), plus[first::count].tolist()) for first in range(count)]
        if all(max(map(len, run)) <= MAX_STEPS for run in runs):
            return runs
    return None


def _bridged(minus: list[int], plus: list[int]) -> tuple[list[int], list[int]]:
    """Stops put into both lists, where they cancel, until no gap is wider than a byte."""
    while True:
        starts = [at for each in (minus, plus) for at, to in pairwise([0, *each]) if to - at > MAX_GAP]
        if not starts:
            return minus, plus
        stop = min(starts) + MAX_GAP
        minus, plus = sorted([*minus, stop]), sorted([*plus, stop])


def _encode(runs: list[tuple[list[int], list[int]]]) -> bytes:
    encoded = [len(runs)]
    for run in runs:
        encoded += map(len, run)
        for each in run:
            encoded += np.diff([0, *each]).tolist()
    return bytes(encoded)
