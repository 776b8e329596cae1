"""Ternary weights: recognised among int8 weights and packed with two bits per trit.

A layer is ternary if the weights of each output channel take no values but {-a, 0, a}, with one magnitude a per
channel. firmware/kernels/tg_kernels.h describes the layout of the packed words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritguard.graph.model import DepthwiseConv2D, Int8, Weighted

TRITS_PER_WORD = 16


@dataclass(frozen=True, eq=False)
class TernaryWeights:
    """Trits and magnitudes, with weights = trits * magnitude along the channel axis.

    Attributes:
        trits: int8 in {-1, 0, 1}, shaped as the weights.
        magnitude: uint8[channels].
        words: uint32, the packed trits as the kernels read them.
    """

    trits: Int8
    magnitude: NDArray[np.uint8]
    words: NDArray[np.uint32]

    @property
    def nbytes(self) -> int:
        """The bytes of words and magnitudes."""
        return int(self.words.nbytes + self.magnitude.nbytes)


def ternary_weights(op: Weighted) -> TernaryWeights | None:
    """The op's weights as trits, or None if they are not ternary or if packing them would not save flash."""
    wide = op.weights.astype(np.int16)
    others = tuple(axis for axis in range(wide.ndim) if axis != op.channel_axis)
    magnitude = np.abs(wide).max(axis=others, keepdims=True)
    if not np.all((wide == 0) | (np.abs(wide) == magnitude)):
        return None
    trits = np.sign(wide).astype(np.int8)
    words = _pack_rows(trits) if isinstance(op, DepthwiseConv2D) else pack_run(trits)
    packed = TernaryWeights(trits, magnitude.ravel().astype(np.uint8), words)
    return packed if packed.nbytes < op.weights.nbytes else None


def pack(trits: Int8) -> NDArray[np.uint32]:
    """uint32[n / 16] from int8[n] trits, with n a multiple of 16; element i starts at bit 2 * (i % 16)."""
    codes = (trits.reshape(-1, TRITS_PER_WORD) + 1).astype(np.uint32)
    shifts = np.arange(TRITS_PER_WORD, dtype=np.uint32) * 2
    return np.asarray(np.bitwise_or.reduce(codes << shifts, axis=1), dtype=np.uint32)


def pack_run(trits: Int8) -> NDArray[np.uint32]:
    """All trits in one run, followed by the guard word that lets the kernel read one word ahead."""
    padding = -trits.size % TRITS_PER_WORD
    words = pack(np.concatenate([trits.ravel(), np.zeros(padding, dtype=np.int8)]))
    return np.append(words, np.uint32(0))


def _pack_rows(trits: Int8) -> NDArray[np.uint32]:
    """The trits of a depthwise layer, with the channels of each position padded to whole words."""
    channels = trits.shape[-1]
    rows = trits.reshape(-1, channels)
    return pack(np.pad(rows, ((0, 0), (0, -channels % TRITS_PER_WORD))))
