"""What each bit of a layer's packed weights stands for: which weight it changes, and by how much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritguard.graph.model import Weighted

PADDING = -1
OFFSET_CODE = (-1, 0, 1, 2)  # what a kernel computes with for the codes 0 to 3 of a trit that is stored as trit + 1
SIGNED_CODE = (0, 1, -2, -1)  # the same for a trit that is stored as a signed number of two bits
_BITS = np.arange(8)
_BIT_WORTH = np.where(_BITS == 7, -128, 1 << _BITS)  # two's complement
_TRIT_SHIFTS = np.arange(0, 8, 2, dtype=np.uint8)


@dataclass(frozen=True, eq=False)
class BitMap:
    """The bits of one layer's weight array.

    Attributes:
        weight: int64[bytes, 8], the place of each bit's weight in the layer's flat weights; PADDING where the bit
            belongs to no weight.
        trits: int64[bytes, 4, 4], what the four codes of each pair of bits stand for, in int8 weight steps; None where
            the bytes are int8 weights.
    """

    weight: NDArray[np.int64]
    trits: NDArray[np.int64] | None = None

    def changes(self, memory: NDArray[np.uint8]) -> NDArray[np.int64]:
        """int64[bytes, 8]: by how many int8 weight steps flipping each bit of uint8[bytes] changes its weight."""
        if self.trits is None:
            return np.asarray(np.where(memory[:, None] >> _BITS & 1, -_BIT_WORTH, _BIT_WORTH))
        codes = (memory[:, None] >> _TRIT_SHIFTS & 3).astype(np.int64)[..., None]
        flipped = np.take_along_axis(self.trits, codes ^ np.array([1, 2]), axis=2)
        return (flipped - np.take_along_axis(self.trits, codes, axis=2)).reshape(-1, 8)

    def leaves_padding(self, memory: NDArray[np.uint8], clean: NDArray[np.uint8]) -> bool:
        """Whether no bit of the padding differs between two contents, uint8[bytes] each."""
        changed = np.unpackbits(memory ^ clean, bitorder="little").reshape(-1, 8)
        return not changed[self.weight == PADDING].any()


def trit_bits(op: Weighted, weight: NDArray[np.int64], codes: NDArray[np.int64]) -> BitMap:
    """The BitMap of two-bit trits.

    Args:
        op: the layer, whose channels' magnitudes the trits are multiplied with.
        weight: int64[bytes, 8], as BitMap's.
        codes: int64[4] or int64[bytes, 4, 4], the trit that the kernel computes with for each code of two bits.
    """
    others = tuple(axis for axis in range(op.weights.ndim) if axis != op.channel_axis)
    magnitude = np.abs(op.weights.astype(np.int64)).max(axis=others, keepdims=True)
    by_weight = np.broadcast_to(magnitude, op.weights.shape).ravel()
    return BitMap(weight, by_weight[weight[:, ::2]][..., None] * codes)
