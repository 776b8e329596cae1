"""Lists of taps over planes: depthwise layers whose ternary weights become additions and subtractions.

firmware/kernels/tg_taps.h draws the planes. This module works out their geometry and packs the trits, four to a byte.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.boards import CoreClass
from tritguard.graph.call import Parameters, window_fields
from tritguard.graph.formats.bits import PADDING, BitMap, trit_bits
from tritguard.graph.formats.cost import Cost
from tritguard.graph.formats.fields import trit_channels, trit_scale
from tritguard.graph.formats.kernel import Bytes, Image, Kernel, Order, Weights, folded_bias
from tritguard.graph.formats.planes import POSITIONS_A_TILE, planes_of
from tritguard.graph.formats.registry import Site, offers
from tritguard.graph.model import DepthwiseConv2D, Int8, Int32, Weighted

MAX_NONZEROS = 255  # 16-bit sums hold up to 255 * 128
_MOST_POSITIONS = 192  # in a strip of output rows, whose sums are kept in scratch
_LARGEST_PLANE = 1 << 16  # offsets have 16 bits
_TRITS_PER_BYTE = 4
_CODE = (-1, 0, 1, 0)  # what the kernel computes with for the codes 0 to 3
# Instructions and cycles of a tap over a tile of 16 positions, and of an output: in C, or with vectors.
_COSTS: dict[CoreClass, tuple[tuple[float, float], tuple[float, float]]] = {
    "m0": ((210, 270), (48, 60)),
    "m3": ((100, 130), (18, 25)),
    "m4": ((16, 18), (11, 14)),
    "m55": ((6, 9), (11, 14)),
}


@dataclass(frozen=True, eq=False)
class TapLists(Weights):
    """A depthwise layer's trits and the planes they read.

    Attributes:
        trits: uint8[channels * ceil(taps / 4)], trit + 1 in two bits each, the first in the lowest bits.
        channels: the number of output channels.
        offsets: uint16[taps], the place in the plane where a tap reads for position 0.
        pitch: the positions from one output row to the next.
        phase_bytes: the bytes in one phase of the plane.
        plane_bytes: the bytes in all phases and in what the last tile reads beyond them; a multiple of four.
        strip_rows: the output rows whose sums are computed together.
        strip_positions: the positions of a strip, one sum each.
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
    @override
    def nbytes(self) -> int:
        return int(self.trits.nbytes + self.offsets.nbytes) + self.channels

    @property
    def scratch_bytes(self) -> int:
        """The scratch in bytes: a plane, sums, and the offsets of one channel."""
        return self.plane_bytes + 2 * self.strip_positions + 2 * len(self.offsets)

    @override
    def parameters(self, op: Weighted, bias: Int32, source: Image, sink: Image) -> Parameters:
        assert isinstance(op, DepthwiseConv2D)
        return {
            "window": window_fields(op.window, source, sink),
            "trits": self.trits,
            "channels": trit_channels(op, bias),
            "offsets": self.offsets,
            "taps": len(self.offsets),
            "depth_multiplier": op.depth_multiplier,
            "pitch": self.pitch,
            "phase_bytes": self.phase_bytes,
            "plane_bytes": self.plane_bytes,
            "strip_rows": self.strip_rows,
            "strip_positions": self.strip_positions,
            "in_zero_point": op.input_zero_point,
            "scale": trit_scale(op),
        }

    @override
    def bits(self, op: Weighted) -> BitMap:
        channels, taps = self.channels, len(self.offsets)
        places = np.arange(taps) * channels + np.arange(channels)[:, None]
        padded = np.pad(places, ((0, 0), (0, -taps % _TRITS_PER_BYTE)), constant_values=PADDING)
        return trit_bits(op, np.repeat(padded.reshape(-1, 4), 2, axis=1), np.array(_CODE))

    @override
    def is_defined(self, op: Weighted, memory: Bytes, clean: Bytes) -> bool:
        """Padding is never read."""
        return True


@offers("taps2", array="trits", code_bytes={"tg_depthwise_taps.c": 1600})
def taps2(site: Site) -> list[Kernel]:
    """The kernel of a ternary depthwise layer."""
    op = site.op
    if site.trits is None or not isinstance(op, DepthwiseConv2D):
        return []
    height, width, _ = site.graph.tensors[op.inputs[0]].shape
    lists = pack_taps(op, site.trits.trits, (height, width))
    if lists is None:
        return []
    expected = _cost(op, lists, int(np.count_nonzero(site.trits.trits)), site.core)
    name = "tg_depthwise_taps"
    order: Order = "channels" if op.depth_multiplier == 1 else "any"
    return [Kernel(name, (f"{name}.c",), "taps2", lists, folded_bias(op), expected, lists.scratch_bytes, order)]


def output_cost(core: CoreClass) -> tuple[float, float]:
    """Instructions and cycles of an output."""
    return _COSTS[core][1]


def _cost(op: DepthwiseConv2D, lists: TapLists, nonzeros: int, core: CoreClass) -> Cost:
    """The cost of lists with `nonzeros` nonzero trits in all channels together."""
    tap, output = _COSTS[core]
    rows, width, channels = op.out_shape
    strips = -(-rows // lists.strip_rows)
    tiles = strips * lists.strip_positions // POSITIONS_A_TILE
    inputs = lists.plane_bytes * channels // op.depth_multiplier
    return Cost.of(
        (inputs, 6, 9), (channels * len(lists.offsets), 16, 22), (nonzeros * tiles, *tap),
        (channels * tiles, 60, 80), (channels * rows, 16, 24), (channels * rows * width, *output),
    )  # fmt: skip


def pack_taps(op: DepthwiseConv2D, trits: Int8, source: tuple[int, int]) -> TapLists | None:
    """Pack a layer's trits; None if its sums or planes do not fit 16 bits.

    Args:
        op: the layer.
        trits: int8[kernel_h, kernel_w, channels] in {-1, 0, 1}.
        source: the height and width of the input.
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
    """The positions in a number of output rows, rounded up to whole tiles."""
    return -(-((rows - 1) * pitch + width) // POSITIONS_A_TILE) * POSITIONS_A_TILE


def _strip(height: int, width: int, pitch: int) -> int:
    """The number of rows in a strip for which the fewest positions are computed and thrown away."""

    def computed(rows: int) -> int:
        return math.ceil(height / rows) * _positions(rows, width, pitch)

    candidates = [
        rows for rows in range(1, height + 1) if rows == 1 or _positions(rows, width, pitch) <= _MOST_POSITIONS
    ]
    return min(candidates, key=lambda rows: (computed(rows), -rows))
