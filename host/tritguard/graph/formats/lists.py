"""Sparse lists: convolutions whose ternary weights become additions of two pixels at once, or of four in two steps.

For cores that only add, firmware/kernels/tg_lists.h draws the layout of lists and of planes of words and proves the
bounds that are kept here; for cores with SXTAB16, tg_taps.h does so for planes of bytes.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.boards import CoreClass
from tritguard.graph.call import Parameters, window_fields
from tritguard.graph.formats.cost import Cost
from tritguard.graph.formats.fields import trit_channels, trit_scale
from tritguard.graph.formats.kernel import Bytes, Image, Kernel, Weights, folded_bias
from tritguard.graph.formats.planes import POSITIONS_A_TILE, Planes, planes_of
from tritguard.graph.formats.registry import Site, offers
from tritguard.graph.formats.taps import output_cost
from tritguard.graph.model import Conv2D, Int8, Int32, Weighted, Window

WORDS_A_TILE = 4  # words that kernels over planes of words compute together
MAX_STEPS = 128  # steps of one sign in a run
MAX_RUNS = 255  # runs in a channel
MAX_GAP = 255  # units in a step
MAX_NONZEROS = 255  # nonzero weights in a channel over planes of bytes
_MOST_WORDS_SCRATCH = 12 * 1024
_MOST_BYTES_SCRATCH = 6 * 1024
_LIFT = 128  # what planes of words add to activations


@dataclass(frozen=True, eq=False, kw_only=True)
class BandLists(Weights):
    """A convolution's nonzero weights as lists of steps over planes that hold a band of rows.

    Attributes:
        lists: uint8, the lists of all channels one after the other.
        channels: the number of output channels.
        steps: the steps of all channels together.
        pitch: the positions from one output row to the next.
        band_rows: the output rows in a band.
        band_input_rows: the input rows that a band reads.
        scratch_bytes: the bytes of the planes and of a band's sums.
    """

    counted: ClassVar[bool]  # whether a channel's lists begin with the number of its runs
    lists: NDArray[np.uint8]
    channels: int
    steps: int
    pitch: int
    band_rows: int
    band_input_rows: int
    scratch_bytes: int

    @property
    @abstractmethod
    def planes(self) -> Parameters:
        """The fields of the kernel's struct that say how the planes lie."""

    @property
    @abstractmethod
    def reach(self) -> int:
        """The units that the steps of a list may take together."""

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
            **self.planes,
            "band_rows": self.band_rows,
            "band_input_rows": self.band_input_rows,
            "in_zero_point": op.input_zero_point,
            "scale": trit_scale(op),
        }

    @override
    def is_defined(self, op: Weighted, memory: Bytes, clean: Bytes) -> bool:
        """Steps and counts are addresses: what they lead to outside of the planes differs between machines."""
        return _ends_inside(memory, self.channels, self.counted, self.reach)


@dataclass(frozen=True, eq=False, kw_only=True)
class SparseLists(BandLists):
    """Lists of steps over planes of words.

    Attributes:
        surplus: int32[channels], the steps of +1 minus the steps of -1.
        runs: the runs of all channels together.
        half: the words in a band, of two positions each.
        plane_words: the words in one phase of one channel.
        unit_words: the words that a step of one unit crosses.
    """

    counted = True
    surplus: Int32
    runs: int
    half: int
    plane_words: int
    unit_words: int

    @property
    @override
    def planes(self) -> Parameters:
        return {"half": self.half, "plane_words": self.plane_words, "unit_bytes": 4 * self.unit_words}

    @property
    @override
    def reach(self) -> int:
        return (self.scratch_bytes // 4 - 3 * self.half) // self.unit_words


def pack_lists(op: Conv2D, trits: Int8, source: tuple[int, int], room: int) -> SparseLists | None:
    """Pack int8[channels, kernel_h, kernel_w, in] trits, for the tallest bands whose planes stay small.

    The result is None if a channel has more runs than a byte can count.

    Args:
        op: the layer.
        trits: in {-1, 0, 1}.
        source: the height and width of the input.
        room: the bytes that the scratch may take; a band of one row may take more.
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
    reads, unit = _reads(planes, inputs, plane_words)
    channel_runs = []
    for row in trits.reshape(channels, -1):
        runs = _runs(reads, row)
        if runs is None:
            return None
        channel_runs.append(runs)
    return SparseLists(
        lists=np.frombuffer(b"".join(map(_encode, channel_runs)), dtype=np.uint8),
        channels=channels,
        surplus=np.array([sum(len(p) - len(m) for m, p in each) for each in channel_runs], dtype=np.int32),
        steps=sum(len(m) + len(p) for each in channel_runs for m, p in each),
        runs=sum(map(len, channel_runs)),
        pitch=planes.pitch,
        half=half_of(band_rows),
        plane_words=plane_words,
        unit_words=unit,
        band_rows=band_rows,
        band_input_rows=_input_rows(window, band_rows),
        scratch_bytes=scratch_of(band_rows),
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class StepLists(BandLists):
    """Lists of steps over planes of bytes.

    Attributes:
        positions: the positions in a band, rounded up to whole tiles.
        plane_bytes: the bytes in one phase of one channel.
        unit_bytes: the bytes that a step of one unit crosses.
    """

    counted = False
    positions: int
    plane_bytes: int
    unit_bytes: int

    @property
    @override
    def planes(self) -> Parameters:
        return {"plane_bytes": self.plane_bytes, "unit_bytes": self.unit_bytes}

    @property
    @override
    def reach(self) -> int:
        return (self.scratch_bytes - 3 * self.positions) // self.unit_bytes


def pack_steps(op: Conv2D, trits: Int8, source: tuple[int, int], room: int) -> StepLists | None:
    """Pack int8[channels, kernel_h, kernel_w, in] trits; None if a channel has too many nonzeros or steps.

    Args:
        op: the layer.
        trits: in {-1, 0, 1}.
        source: the height and width of the input.
        room: the bytes that the scratch may take; a band of one row may take more.
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
    reads, unit = _reads(planes, inputs, plane)
    rows = trits.reshape(channels, -1)
    lists = [_bridged(*(np.sort(reads[row == sign]).tolist() for sign in (-1, 1))) for row in rows]
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
        band_input_rows=_input_rows(window, band_rows),
        scratch_bytes=scratch_of(band_rows),
    )


def _reads(planes: Planes, inputs: int, plane: int) -> tuple[NDArray[np.int64], int]:
    """Where each trit reads in units, int64[kernel_h * kernel_w * in] in the order of the trits, and a unit's elements.

    Args:
        planes: the geometry of a channel's planes.
        inputs: the input channels.
        plane: the elements, words or bytes, in one phase of one channel.
    """
    reads = (np.arange(inputs) * planes.phases + planes.phase[:, None]) * plane + planes.offset[:, None]
    unit = int(np.gcd.reduce(reads, axis=None)) or 1
    return reads.ravel() // unit, unit


def _input_rows(window: Window, rows: int) -> int:
    """The input rows that a band of output rows reads."""
    return (rows - 1) * window.stride[0] + (window.kernel[0] - 1) * window.dilation[0] + 1


def _runs(reads: NDArray[np.int64], trits: Int8) -> list[tuple[list[int], list[int]]] | None:
    """The sorted words that a channel subtracts and adds, in the fewest runs allowed; None if they do not fit."""
    minus, plus = (np.sort(reads[trits == sign]) for sign in (-1, 1))
    fewest = max(1, -(-max(len(minus), len(plus)) // MAX_STEPS))
    for count in range(fewest, MAX_RUNS + 1):
        runs = [_bridged(minus[first::count].tolist(), plus[first::count].tolist()) for first in range(count)]
        if all(max(map(len, run)) <= MAX_STEPS for run in runs):
            return runs
    return None


def _bridged(minus: list[int], plus: list[int]) -> tuple[list[int], list[int]]:
    """Both lists with extra stops, which cancel each other, so that no gap is wider than a byte can hold."""
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


def _ends_inside(memory: Bytes, channels: int, counted: bool, reach: int) -> bool:
    """Walk the lists as the kernels do (tg_lists.h): every step within `reach` units, every byte within the array."""
    at = 0
    for _ in range(channels):
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
    """The kernel of a ternary convolution: over planes of bytes on cores with SXTAB16, else over planes of words."""
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
    """The cost over planes of bytes; source: pixels of the input. Rows that two bands read are moved."""
    rows, width, channels = op.out_shape
    bands = -(-rows // packed.band_rows)
    tiles = bands * packed.positions // POSITIONS_A_TILE
    stride = packed.band_rows * op.window.stride[0]
    moves = packed.band_input_rows > stride
    gathered = source * op.weights.shape[-1] * (1 if moves else packed.band_input_rows / stride)
    return Cost.of(
        (packed.steps * tiles, *((6, 9) if core == "m55" else (15, 17.5))), (channels * tiles, 70, 105),
        (channels * rows, 9, 14),
        (channels * bands, 60, 90), (channels * rows * width, 11, 14),
        (gathered, 6, 10), (bands * packed.scratch_bytes, *((0.9, 1.4) if moves else (0.4, 0.5))),
    )  # fmt: skip
