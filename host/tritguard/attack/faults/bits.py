"""What each bit of a layer's packed weights stands for: which weight it changes, and by how much."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
from numpy.typing import NDArray

from tritguard.graph.formats.dual import DualWords, bit_places
from tritguard.graph.formats.kernel import Kernel, interleave, plan_planes
from tritguard.graph.formats.taps import TapLists
from tritguard.graph.formats.ternary import TRITS_PER_WORD, TernaryWeights
from tritguard.graph.model import DepthwiseConv2D, Int8, Weighted

PADDING = -1
_BITS = np.arange(8)
_BIT_WORTH = np.where(_BITS == 7, -128, 1 << _BITS)  # two's complement
_TRIT_SHIFTS = np.arange(0, 8, 2, dtype=np.uint8)
# What a trit's two bits make the kernels compute with: three of the codes are meant, a fault finds the fourth.
_OFFSET_CODE = (-1, 0, 1, 2)
_SIGNED_CODE = (0, 1, -2, -1)
_TAP_CODE = (-1, 0, 1, 0)


@dataclass(frozen=True, eq=False)
class BitMap:
    """The bits of one layer's weight array.

    Attributes:
        weight: int64[bytes, 8], a bit's place in the layer's flat weights; PADDING where it belongs to none.
        trits: int64[bytes, 4, 4], in int8 weight steps what the four codes of each pair of bits stand for; None where
            bytes are int8 weights.
    """

    weight: NDArray[np.int64]
    trits: NDArray[np.int64] | None

    def changes(self, memory: NDArray[np.uint8]) -> NDArray[np.int64]:
        """int64[bytes, 8]: by how many int8 weight steps turning over each bit changes its weight."""
        if self.trits is None:
            return np.asarray(np.where(memory[:, None] >> _BITS & 1, -_BIT_WORTH, _BIT_WORTH))
        codes = (memory[:, None] >> _TRIT_SHIFTS & 3).astype(np.int64)[..., None]
        turned = np.take_along_axis(self.trits, codes ^ np.array([1, 2]), axis=2)
        return (turned - np.take_along_axis(self.trits, codes, axis=2)).reshape(-1, 8)


@lru_cache(maxsize=64)
def map_bits(op: Weighted, kernel: Kernel) -> BitMap | None:
    """The bits of a layer's weights in the kernel's format.

    None where a bit is no weight's: sparse lists are addresses, and in base 3 twenty trits share a word.
    """
    weights = kernel.weights
    if isinstance(weights, DualWords):
        return _dual(op, weights)
    if isinstance(weights, TapLists):
        return _taps(op, weights)
    if isinstance(weights, TernaryWeights):
        return _two_bits(op)
    return _int8(op) if kernel.weight_format == "int8" else None


def _int8(op: Weighted) -> BitMap:
    places = np.arange(op.weights.size).reshape(op.weights.shape)
    if isinstance(op, DepthwiseConv2D):
        order = places.transpose(2, *plan_planes(op).axes).ravel()
    else:
        order = interleave(cast(Int8, places + 1)).astype(np.int64) - 1  # what it pads is 0, and so becomes PADDING
    return BitMap(np.repeat(order[:, None], 8, axis=1), None)


def _dual(op: Weighted, packed: DualWords) -> BitMap:
    positions = op.weights.size // len(op.bias)
    groups, words, together = packed.words.shape
    position, high, _ = bit_places().T
    pair = np.arange(groups)[:, None, None] * together + np.arange(together)
    channel = packed.channels[pair][..., high]  # [groups, 1, together, 32]
    place = np.arange(words)[:, None, None] * 8 + position  # [words, 1, 32]
    weight = np.where((channel >= 0) & (place < positions), channel * positions + place, PADDING).reshape(-1, 8)
    codes = np.where(high[::2, None] == 1, _SIGNED_CODE, _OFFSET_CODE).reshape(4, 4, 4)  # bytes of a word
    return _trits(op, weight, np.tile(codes, (len(weight) // 4, 1, 1)))


def _taps(op: Weighted, packed: TapLists) -> BitMap:
    channels, taps = packed.channels, len(packed.offsets)
    places = np.arange(taps) * channels + np.arange(channels)[:, None]
    padded = np.pad(places, ((0, 0), (0, -taps % 4)), constant_values=PADDING)
    return _trits(op, np.repeat(padded.reshape(-1, 4), 2, axis=1), np.array(_TAP_CODE))


def _two_bits(op: Weighted) -> BitMap:
    places = np.arange(op.weights.size)
    if isinstance(op, DepthwiseConv2D):
        rows = places.reshape(-1, op.weights.shape[-1])
        padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % TRITS_PER_WORD)), constant_values=PADDING).ravel()
    else:  # the kernel's guard word behind the last
        padded = np.pad(places, (0, -places.size % TRITS_PER_WORD + TRITS_PER_WORD), constant_values=PADDING)
    return _trits(op, np.repeat(padded.reshape(-1, 4), 2, axis=1), np.array(_OFFSET_CODE))


def _trits(op: Weighted, weight: NDArray[np.int64], codes: NDArray[np.int64]) -> BitMap:
    others = tuple(axis for axis in range(op.weights.ndim) if axis != op.channel_axis)
    magnitude = np.abs(op.weights.astype(np.int64)).max(axis=others, keepdims=True)
    by_weight = np.broadcast_to(magnitude, op.weights.shape).ravel()
    return BitMap(weight, by_weight[weight[:, ::2]][..., None] * codes)
