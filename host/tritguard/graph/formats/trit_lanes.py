"""Trits that a core with vectors of bytes turns into int8 weights in registers, and multiplies as it does int8 layers.

A channel's trits lie in blocks of 64 positions, 16 bytes each, and what is left of them in words of 16 positions; a
byte has four trits that lie a quarter of the block or the word apart. firmware/kernels/tg_trit_lanes.h draws it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.graph.call import Constant, Parameters, window_fields
from tritguard.graph.formats.bits import PADDING, SIGNED_CODE, BitMap, trit_bits
from tritguard.graph.formats.cost import TILE, Cost, shape_of
from tritguard.graph.formats.dual import has_few_rows
from tritguard.graph.formats.fields import CHANNEL_BYTES, trit_channels, trit_scale
from tritguard.graph.formats.int8_lanes import windows_cost
from tritguard.graph.formats.int8_weights import by_channel, sums_stay_inside
from tritguard.graph.formats.kernel import Bytes, Image, Kernel, Weights, folded_bias, window_of
from tritguard.graph.formats.registry import Site, offers
from tritguard.graph.model import DepthwiseConv2D, Int8, Int32, Weighted

BLOCK, WORD = 64, 16  # positions
_IN_A_BYTE = 4
_MOST_POSITIONS = (1 << 17) - 1  # with these no sum overflows, even with a flipped bit


@dataclass(frozen=True, eq=False)
class TritLanes(Weights):
    """Packed trits of a convolution or of a dense layer of several rows.

    Attributes:
        packed: uint8[channels * bytes].
        channels: how many there are; each has a magnitude and a number, as in other formats.
    """

    by_rows = True
    by_pixel = True
    packed: NDArray[np.uint8]
    channels: int

    @property
    @override
    def nbytes(self) -> int:
        return self.packed.size + CHANNEL_BYTES * self.channels

    @override
    def parameters(self, op: Weighted, bias: Int32, source: Image, sink: Image) -> Parameters:
        return {
            "window": window_fields(window_of(op), source, sink),
            "trits": Constant(self.packed, aligned=True),
            "channels": trit_channels(op, bias),
            "in_zero_point": op.input_zero_point,
            "scale": trit_scale(op),
        }

    @override
    def bits(self, op: Weighted) -> BitMap:
        places = by_channel(op, np.arange(op.weights.size).reshape(op.weights.shape))
        by_byte = by_bytes(places, padding=PADDING).reshape(-1, _IN_A_BYTE)
        return trit_bits(op, np.repeat(by_byte, 2, axis=1), np.array(SIGNED_CODE))

    @override
    def is_defined(self, op: Weighted, memory: Bytes, clean: Bytes) -> bool:
        """Padding is multiplied by zeros."""
        return True


@offers("lanes2", array="trits", code_bytes={"tg_conv2d_trits.c": 1400})
def lanes2(site: Site) -> list[Kernel]:
    """The kernel of a convolution, or of a dense layer of several rows, that does not give the logits."""
    op = site.op
    if site.core != "m55" or site.trits is None or isinstance(op, DepthwiseConv2D) or has_few_rows(op):
        return []
    shape = shape_of(op)
    if shape.positions > _MOST_POSITIONS or not sums_stay_inside(site, op):
        return []
    channels = shape.tiles * shape.channels
    cost = windows_cost(shape, op) + Cost.of(
        (channels * (shape.positions // BLOCK), 40, 80),
        (channels * -(-(shape.positions % BLOCK) // WORD), 13, 24),
        (channels, 36, 54),
    )
    weights = TritLanes(pack_lanes(by_channel(op, site.trits.trits)), shape.channels)
    name = "tg_conv2d_trits"
    return [Kernel(name, (f"{name}.c",), "lanes2", weights, folded_bias(op), cost, shape.positions * TILE, "tiles")]


def pack_lanes(trits: Int8) -> NDArray[np.uint8]:
    """uint8[channels * bytes] from int8[channels, positions]: two bits a trit, signed."""
    codes = (by_bytes(trits, padding=0) & 3).astype(np.uint8) << np.arange(0, 8, 2, dtype=np.uint8)
    return np.ascontiguousarray(np.bitwise_or.reduce(codes, axis=2)).ravel()


def unpack_lanes(packed: NDArray[np.uint8], channels: int, positions: int) -> Int8:
    """int8[channels, positions], the trits that were packed."""
    codes = packed.reshape(channels, -1, 1) >> np.arange(0, 8, 2, dtype=np.uint8) & 3
    trits = np.zeros((channels, positions), dtype=np.int8)
    places = by_bytes(np.arange(positions)[None], padding=PADDING)[0]
    real = places != PADDING
    trits[:, places[real]] = np.array(SIGNED_CODE, dtype=np.int8)[codes[:, real]]
    return trits


def by_bytes(values: NDArray[Any], padding: int) -> NDArray[Any]:
    """[channels, positions] as [channels, bytes, 4], the lowest bits of a byte first, padded to whole words."""
    positions = values.shape[1]
    padded = np.pad(values, ((0, 0), (0, -positions % WORD)), constant_values=padding)
    in_blocks = positions // BLOCK * BLOCK
    parts = [_quarters(padded[:, :in_blocks], BLOCK), _quarters(padded[:, in_blocks:], WORD)]
    return np.concatenate(parts, axis=1)


def _quarters(values: NDArray[Any], size: int) -> NDArray[Any]:
    """[channels, n * size] as [channels, n * size / 4, 4]: what lies a quarter of `size` apart is in one byte."""
    channels = len(values)
    return values.reshape(channels, -1, _IN_A_BYTE, size // _IN_A_BYTE).swapaxes(2, 3).reshape(channels, -1, _IN_A_BYTE)
