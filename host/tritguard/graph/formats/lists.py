"""Sparse lists: convolutions whose ternary weights become additions, of two pixels at once, or of four in two.

firmware/kernels/tg_lists.h draws the layout of lists and of planes of words, for cores that only add, and proves the
bounds kept here; tg_taps.h does so for planes of bytes, for cores with SXTAB16.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.boards import CoreClass
from tritguard.graph.call import Parameters, window_fields
from tritguard.graph.formats.cost import Cost
from tritguard.graph.formats.fields import trit_channels, trit_scale
from tritguard.graph.formats.kernel import Bytes, Image, Kernel, Weights, folded_bias
from tritguard.graph.formats.planes import POSITIONS_A_TILE, planes_of
from tritguard.graph.formats.registry import Site, offers
from tritguard.graph.formats.taps import output_cost
from tritguard.graph.model import Conv2D, Int8, Int32, Weighted

WORDS_A_TILE = 4  # that kernels over planes of words compute together
MAX_STEPS = 128  # of one sign in a run
MAX_RUNS = 255  # of a channel
MAX_GAP = 255  # units
MAX_NONZEROS = 255  # of a channel over planes of bytes
_MOST_WORDS_SCRATCH = 12 * 1024
_MOST_BYTES_SCRATCH = 6 * 1024
_LIFT = 128  # what planes of words add to activations


@dataclass(frozen=True, eq=False)
class SparseLists(Weights):
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
    @override
    def nbytes(self) -> int:
        return int(self.lists.nbytes) + len(self.surplus)

    @override
    def parameters(self, op: Weighted, bias: Int32, source: Image, sink: Image) -> Parameters:
        assert isinstance(op, Conv2D)
        return {
            "window": window_fields(op.window, source, sink),
            "lists": self.lists,
            "channels": trit_channels(op, bias),
            "pitch": self.pitch,
            "half": self.half,
            "plane_words": self.plane_words,
            "unit_bytes": 4 * self.unit_words,
            "band_rows": self.band_rows,
            "band_input_rows": self.band_input_rows,
            "in_zero_point": op.input_zero_point,
            "scale": trit_scale(op),
        }

    @override
    def is_defined(self, op: Weighted, memory: Bytes, clean: Bytes) -> bool:
        """Steps and counts are addresses: what they lead to outside of the planes is the device's alone."""
        reach = (self.scratch_bytes // 4 - 3 * self.half) // self.unit_words
        return _ends_inside(memory, [True] * len(self.surplus), reach)


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
        return -(-((rows - 1) * planes.pitch + width) // (2 * WORDS_A_TILE)) * WORDS_A_TILE

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
class StepLists(Weights):
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
    @override
    def nbytes(self) -> int:
        return int(self.lists.nbytes) + self.channels

    @override
    def parameters(self, op: Weighted, bias: Int32, source: Image, sink: Image) -> Parameters:
        assert isinstance(op, Conv2D)
        return {
            "window": window_fields(op.window, source, sink),
            "lists": self.lists,
            "channels": trit_channels(op, bias),
            "pitch": self.pitch,
            "plane_bytes": self.plane_bytes,
            "unit_bytes": self.unit_bytes,
            "band_rows": self.band_rows,
            "band_input_rows": self.band_input_rows,
            "in_zero_point": op.input_zero_point,
            "scale": trit_scale(op),
        }

    @override
    def is_defined(self, op: Weighted, memory: Bytes, clean: Bytes) -> bool:
        """Steps and counts are addresses: what they lead to outside of the planes is the device's alone."""
        reach = (self.scratch_bytes - 3 * self.positions) // self.unit_bytes
        return _ends_inside(memory, [False] * self.channels, reach)


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
        return -(-((rows - 1) * planes.pitch + width) // POSITIONS_A_TILE) * POSITIONS_A_TILE

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


def _ends_inside(memory: Bytes, has_runs: list[bool], reach: int) -> bool:
    """Walk the lists as the kernels do (tg_lists.h): every step within `reach` units, every byte within the array."""
    at = 0
    for counted in has_runs:
        if at >= len(memory):
            return False
        runs = int(memory[at]) if counted else 1
        at += int(counted)
        for _ in range(runs):
            if at + 2 > len(memory):
                return False
            minus, plus = int(memory[at]), int(memory[at + 1])
            steps = memory[at + 2 : at + 2 + minus + plus]
            at += 2 + minus + plus
            if at > len(memory) or max(int(steps[:minus].sum()), int(steps[minus:].sum())) > reach:
                return False
    return True


@offers("sparse", array="lists", code_bytes={"tg_conv2d_lists.c": 1800, "tg_conv2d_steps.c": 1500})
def sparse(site: Site) -> list[Kernel]:
    """The kernel of a ternary convolution: over planes of bytes on a core with SXTAB16, over planes of words else."""
    op = site.op
    if site.trits is None or not isinstance(op, Conv2D):
        return []
    height, width, _ = site.graph.tensors[op.inputs[0]].shape
    bias = folded_bias(op)
    if site.core in ("m4", "m55"):
        steps = pack_steps(op, site.trits.trits, (height, width), site.room)
        if steps is None:
            return []
        name, expected = "tg_conv2d_steps", _steps_cost(op, steps, height * width, site.core)
        return [Kernel(name, (f"{name}.c",), "sparse", steps, bias, expected, steps.scratch_bytes, "tiles")]
    lists = pack_lists(op, site.trits.trits, (height, width), site.room)
    if lists is None:
        return []
    bias = (bias - _LIFT * site.trits.magnitude.astype(np.int64) * lists.surplus).astype(np.int32)
    name, expected = "tg_conv2d_lists", _lists_cost(op, lists, height * width, site.core)
    return [Kernel(name, (f"{name}.c",), "sparse", lists, bias, expected, lists.scratch_bytes, "tiles")]


def _lists_cost(op: Conv2D, packed: SparseLists, source: int, core: CoreClass) -> Cost:
    """The cost over planes of words; source: pixels of the input."""
    rows, width, channels = op.out_shape
    bands = -(-rows // packed.band_rows)
    tiles = bands * packed.half // WORDS_A_TILE
    overlap = bands * packed.band_input_rows / (rows * op.window.stride[0])
    return Cost.of(
        (packed.steps * tiles, 11.3, 17), (packed.runs * tiles, 110, 150),
        (channels * rows * width, *output_cost(core)), (source * op.weights.shape[-1] * overlap, 14, 20),
        (bands * packed.scratch_bytes / 4, 5, 8),
    )  # fmt: skip


def _steps_cost(op: Conv2D, packed: StepLists, source: int, core: CoreClass) -> Cost:
    """The cost over planes of bytes; source: pixels of the input."""
    rows, width, channels = op.out_shape
    bands = -(-rows // packed.band_rows)
    tiles = bands * packed.positions // POSITIONS_A_TILE
    overlap = bands * packed.band_input_rows / (rows * op.window.stride[0])
    return Cost.of(
        (packed.steps * tiles, *((6, 9) if core == "m55" else (16, 18))), (channels * tiles, 65, 100),
        (channels * rows, 9, 14),
        (channels * bands, 60, 90), (channels * rows * width, 11, 14),
        (source * op.weights.shape[-1] * overlap, 5.5, 9), (bands * packed.scratch_bytes, 0.4, 0.5),
    )  # fmt: skip
