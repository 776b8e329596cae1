"""What a kernel is expected to take: instructions and cycles of one run, from counts of the kernels' loops.

The coefficients are read off the compiled kernels (GCC 12, -O2) and hold within the margin that
tests/test_cost.py measures against exact counts in emulation. Cycles follow a static Cortex-M4 model without flash
wait states: estimates, to choose by.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tritguard.boards import CoreClass
from tritguard.graph.formats.lists import SparseLists, StepLists
from tritguard.graph.formats.taps import TapLists
from tritguard.graph.model import Conv2D, DepthwiseConv2D, FullyConnected, Weighted

TILE = 4


@dataclass(frozen=True)
class Cost:
    """Of one run of a layer."""

    instructions: int
    cycles: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.instructions + other.instructions, self.cycles + other.cycles)

    def times(self, count: int) -> Cost:
        """As much, so many times over."""
        return Cost(self.instructions * count, self.cycles * count)


def _cost(*terms: tuple[float, float, float]) -> Cost:
    """Sum of (count, instructions each, cycles each)."""
    return Cost(round(sum(n * each for n, each, _ in terms)), round(sum(n * each for n, _, each in terms)))


@dataclass(frozen=True)
class Shape:
    """A layer as a product of matrices: `pixels` x `positions` activations by `channels` x `positions` weights."""

    pixels: int
    positions: int
    channels: int
    in_channels: int

    @property
    def tiles(self) -> int:
        """Tiles of TILE pixels."""
        return -(-self.pixels // TILE)


def shape_of(op: Weighted) -> Shape:
    """The product that a layer computes; of a depthwise one, one channel's."""
    channels = len(op.bias)
    positions = op.weights.size // channels
    if isinstance(op, FullyConnected):
        return Shape(op.rows, positions, channels, positions)
    if isinstance(op, DepthwiseConv2D):
        return Shape(math.prod(op.out_shape[:2]), positions, channels, 1)
    assert isinstance(op, Conv2D)
    return Shape(math.prod(op.out_shape[:2]), positions, channels, op.weights.shape[-1])


def columns(shape: Shape) -> Cost:
    """A layer's activations as columns (tg_columns.h): four bytes of each of a tile's pixels at a time."""
    gathered = 0 if shape.in_channels % 4 == 0 else shape.positions * TILE
    groups = -(-shape.positions // 4)
    return _cost((shape.tiles * groups, 22, 33), (shape.tiles, 110, 160), (shape.tiles * gathered, 15, 24))


def dual_tiles(shape: Shape, words: int, blocks: int, pairs: int, core: CoreClass) -> Cost:
    """Dual-channel words over tiles of pixels, on a core with SMLAD or vectors."""
    word, pair = ((16, 26), (138, 180)) if core == "m55" else ((26, 44), (72, 105))
    return dual_columns(shape, words, core) + _cost(
        (shape.tiles * pairs * words, *word), (shape.tiles * pairs * blocks, 33, 48), (shape.tiles * pairs, *pair),
        (shape.tiles * shape.channels, 47, 65),
    )  # fmt: skip


def dual_columns(shape: Shape, words: int, core: CoreClass) -> Cost:
    """Of it, the activations: columns, and their sums."""
    return columns(shape) + _cost((shape.tiles * words, *((11, 20) if core == "m55" else (21, 39))))


def dual_rows(shape: Shape, words: int, blocks: int, pairs: int, core: CoreClass) -> Cost:
    """Dual-channel words of four pairs over one pixel at a time."""
    groups = pairs // TILE
    return dual_row(shape) + _cost(
        (shape.pixels * groups * words, *((33, 44) if core == "m55" else (37.5, 46))),
        (shape.pixels * groups * blocks, 34, 48),
        (shape.pixels * groups, 60, 85), (shape.pixels * shape.channels, 30, 36),
    )  # fmt: skip


def dual_row(shape: Shape) -> Cost:
    """Of it, the activations."""
    return _cost((shape.pixels * shape.positions, 5, 7))


def decoding(words: int, core: CoreClass) -> Cost:
    """Words in base 3, twenty trits each."""
    return _cost((words, 60, 75) if core == "m0" else (words, 19, 28))


# What a tap over a tile of 16 positions takes, and an output: in C, or with vectors.
_TAPS: dict[CoreClass, tuple[tuple[float, float], tuple[float, float]]] = {
    "m0": ((210, 270), (48, 60)),
    "m3": ((100, 130), (18, 25)),
    "m55": ((6, 9), (11, 14)),
}


def taps(op: DepthwiseConv2D, lists: TapLists, nonzeros: int, core: CoreClass) -> Cost:
    """Lists of taps over planes; nonzeros of all channels together."""
    tap, output = _TAPS.get(core, ((16, 18), (11, 14)))
    rows, width, channels = op.out_shape
    strips = -(-rows // lists.strip_rows)
    tiles = strips * lists.strip_positions // 16
    inputs = lists.plane_bytes * channels // op.depth_multiplier
    return _cost(
        (inputs, 6, 9), (channels * len(lists.offsets), 16, 22), (nonzeros * tiles, *tap),
        (channels * tiles, 60, 80), (channels * rows, 16, 24), (channels * rows * width, *output),
    )  # fmt: skip


def lists(op: Conv2D, packed: SparseLists, source: int, core: CoreClass) -> Cost:
    """Sparse lists on a core without SMLAD; source: pixels of the input."""
    _, output = _TAPS["m0" if core == "m0" else "m3"]
    rows, width, channels = op.out_shape
    bands = -(-rows // packed.band_rows)
    tiles = bands * packed.half // 4
    overlap = bands * packed.band_input_rows / (rows * op.window.stride[0])
    return _cost(
        (packed.steps * tiles, 11.3, 17), (packed.runs * tiles, 110, 150), (channels * rows * width, *output),
        (source * op.weights.shape[-1] * overlap, 14, 20), (bands * packed.scratch_bytes / 4, 5, 8),
    )  # fmt: skip


def steps(op: Conv2D, packed: StepLists, source: int, core: CoreClass) -> Cost:
    """Sparse lists over planes of bytes; source: pixels of the input."""
    rows, width, channels = op.out_shape
    bands = -(-rows // packed.band_rows)
    tiles = bands * packed.positions // 16
    overlap = bands * packed.band_input_rows / (rows * op.window.stride[0])
    return _cost(
        (packed.steps * tiles, *((6, 9) if core == "m55" else (16, 18))), (channels * tiles, 65, 100),
        (channels * rows, 9, 14),
        (channels * bands, 60, 90), (channels * rows * width, 11, 14),
        (source * op.weights.shape[-1] * overlap, 5.5, 9), (bands * packed.scratch_bytes, 0.4, 0.5),
    )  # fmt: skip


def two_bits(op: Weighted, shape: Shape, core: CoreClass) -> Cost:
    """Plain two-bit trits, portable C."""
    outputs = shape.pixels * shape.channels
    slow = core == "m0"
    if isinstance(op, DepthwiseConv2D):
        return _cost((outputs * shape.positions, *((66, 82) if slow else (12.5, 19))), (outputs, 60, 80))
    runs = op.window.kernel[0] if isinstance(op, Conv2D) else 1
    each, run = ((19, 23), (100, 125)) if slow else ((8.85, 11.7), (117, 155))
    return _cost((outputs * shape.positions, *each), (outputs * runs, *run), (outputs, 60, 80))


def int8(op: Weighted, shape: Shape, core: CoreClass) -> Cost:
    """Weights as they are."""
    macs = shape.pixels * shape.positions * shape.channels
    outputs = shape.pixels * shape.channels
    if core == "m0":
        each = 10 if isinstance(op, DepthwiseConv2D) else 4
        return columns(shape) + _cost((macs, each, 1.4 * each), (outputs, 40, 60))
    if core == "m3":
        if isinstance(op, DepthwiseConv2D):
            return _cost((macs, 4, 6), (outputs, 70, 100))
        return columns(shape) + _cost((macs, 1.9, 3.1), (outputs, 30, 42))
    if isinstance(op, DepthwiseConv2D):
        by_blocks = op.window.kernel == (3, 3) and op.window.stride == op.window.dilation == (1, 1)
        return _cost((outputs, 30, 42)) if by_blocks else _cost((macs, 3, 5), (outputs, 35, 50))
    product, output = ((0.32, 0.6), (25, 40)) if core == "m55" else ((0.83, 1.15), (9, 12))
    if isinstance(op, FullyConnected) and op.rows == 1:
        return _cost((macs, *((0.45, 0.8) if core == "m55" else (1.25, 1.7))), (outputs, 37, 50))
    return columns(shape) + _cost((macs, *product), (outputs, *output))
