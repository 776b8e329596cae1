"""Lists of taps over planes: depthwise layers whose ternary weights become additions and subtractions.

firmware/kernels/tg_taps.h draws the planes; here their geometry is worked out, and the trits packed four a byte.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritguard.graph.formats.planes import planes_of
from tritguard.graph.model import DepthwiseConv2D, Int8

TILE = 16
MAX_NONZEROS = 255  # 16-bit sums hold 255 * 128
_MOST_POSITIONS = 192  # of a strip of output rows: its sums wait in scratch
_LARGEST_PLANE = 1 << 16  # offsets have 16 bits
_TRITS_PER_BYTE = 4


@dataclass(frozen=True, eq=False)
class TapLists:
    """A depthwise layer's trits and the planes they read.

    Attributes:
        trits: uint8[channels * ceil(taps / 4)], trit + 1 in two bits, the first in the lowest.
        channels: output channels.
        offsets: uint16[taps], where a tap reads the plane for position 0.
        pitch: positions from one output row to the next.
        phase_bytes: bytes of one phase of the plane.
        plane_bytes: all phases, and what a last tile reads beyond; a multiple of four.
        strip_rows: output rows whose sums are computed together.
        strip_positions: room for their sums.
    """

    trits: NDArray[np.uint8]
    channels: int
    offsets: NDArray[np.uint16]
    pitch: int
    phase_bytes: int
    plane_bytes: int
    strip_rows: int
    strip_positions: int

    @property
    def nbytes(self) -> int:
        """Flash of trits, offsets and magnitudes."""
        return int(self.trits.nbytes + self.offsets.nbytes) + self.channels

    @property
    def scratch_bytes(self) -> int:
        """Plane, sums, and the offsets of one channel."""
        return self.plane_bytes + 2 * self.strip_positions + 2 * len(self.offsets)


def pack_taps(op: DepthwiseConv2D, trits: Int8, source: tuple[int, int]) -> TapLists | None:
    """Pack a layer's trits; None where its sums or its planes do not fit 16 bits.

    Args:
        op: the layer.
        trits: int8[kernel_h, kernel_w, channels] in {-1, 0, 1}.
        source: height and width of the input.
    """
    window, (height, width, channels) = op.window, op.out_shape
    if np.count_nonzero(trits, axis=(0, 1)).max() > MAX_NONZEROS:
        return None
    planes = planes_of(window, (height, width), source)
    phase_bytes = planes.rows * planes.pitch + planes.overhang
    offsets = (planes.phase * phase_bytes + planes.offset).tolist()
    pitch = planes.pitch
    strip_rows = _strip(height, width, pitch)
    strip_positions = _positions(strip_rows, width, pitch)
    last = height - 1 - (height - 1) % strip_rows
    read = max(first * pitch + _positions(min(strip_rows, height - first), width, pitch) for first in (0, last))
    plane_bytes = max(planes.phases * phase_bytes, read + max(offsets))
    plane_bytes = -(-plane_bytes // 4) * 4
    if plane_bytes > _LARGEST_PLANE:
        return None
    rows = np.pad(trits.reshape(-1, channels).T + 1, ((0, 0), (0, -len(offsets) % _TRITS_PER_BYTE)), constant_values=1)
    packed = np.bitwise_or.reduce(rows.reshape(channels, -1, _TRITS_PER_BYTE) << np.arange(0, 8, 2), axis=2)
    return TapLists(
        packed.astype(np.uint8).ravel(), channels, np.array(offsets, dtype=np.uint16), pitch, phase_bytes, plane_bytes,
        strip_rows, strip_positions,
    )  # fmt: skip


def _positions(rows: int, width: int, pitch: int) -> int:
    """Positions of output rows, in whole tiles."""
    return -(-((rows - 1) * pitch + width) // TILE) * TILE


def _strip(height: int, width: int, pitch: int) -> int:
    """The rows of a strip for which the fewest positions are computed in vain."""

    def computed(rows: int) -> int:
        return math.ceil(height / rows) * _positions(rows, width, pitch)

    candidates = [
        rows for rows in range(1, height + 1) if rows == 1 or _positions(rows, width, pitch) <= _MOST_POSITIONS
    ]
    return min(candidates, key=lambda rows: (computed(rows), -rows))
