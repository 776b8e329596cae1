"""What a kernel is expected to take: instructions and cycles of one run, from counts of the kernels' loops.

Each format's file holds the counts of its kernels. Their coefficients are read off the compiled kernels (GCC 12, -O2)
and hold within the margin that tests/test_cost.py measures against exact counts in emulation. Cycles follow a static
Cortex-M4 model without flash wait states: they are estimates to choose by.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tritguard.graph.model import Conv2D, DepthwiseConv2D, FullyConnected, Weighted

TILE = 4  # pixels that a kernel computes together: TG_TILE of firmware/kernels/tg_core.h


@dataclass(frozen=True)
class Cost:
    """Instructions and cycles of one run of a layer."""

    instructions: int
    cycles: int

    @classmethod
    def of(cls, *terms: tuple[float, float, float]) -> Cost:
        """The sum of terms (count, instructions each, cycles each)."""
        return cls(round(sum(n * each for n, each, _ in terms)), round(sum(n * each for n, _, each in terms)))

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.instructions + other.instructions, self.cycles + other.cycles)

    def times(self, count: int) -> Cost:
        """The cost of `count` such runs."""
        return Cost(self.instructions * count, self.cycles * count)


@dataclass(frozen=True)
class Shape:
    """A layer as a product of matrices: `pixels` x `positions` activations by `channels` x `positions` weights."""

    pixels: int
    positions: int
    channels: int
    in_channels: int

    @property
    def tiles(self) -> int:
        """The number of tiles of TILE pixels."""
        return -(-self.pixels // TILE)


def shape_of(op: Weighted) -> Shape:
    """The product that a layer computes; for a depthwise layer that of one channel."""
    channels = len(op.bias)
    positions = op.weights.size // channels
    if isinstance(op, FullyConnected):
        return Shape(op.rows, positions, channels, positions)
    if isinstance(op, DepthwiseConv2D):
        return Shape(math.prod(op.out_shape[:2]), positions, channels, 1)
    assert isinstance(op, Conv2D)
    return Shape(math.prod(op.out_shape[:2]), positions, channels, op.weights.shape[-1])
