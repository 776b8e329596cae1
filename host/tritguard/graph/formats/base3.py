"""Base 3: ternary weights at 1.6 bits each, turned into two-bit trits in scratch, a group of channels at a time.

Twenty trits are the fraction that a 32-bit word is; firmware/kernels/tg_base3.h draws it and proves that products with
81 give the trits back. What a group is decoded to is what its kernel reads: dual-channel words or two-bit trits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritguard.graph.formats.dual import CHANNEL_BYTES, DualWords
from tritguard.graph.formats.ternary import pack_run
from tritguard.graph.model import Int8

DIGITS = 20  # a word
_FIELDS = 4  # two-bit trits in a byte
_BYTES = DIGITS // _FIELDS  # decoded from a word


@dataclass(frozen=True, eq=False)
class Base3Dual:
    """Dual-channel words in base 3.

    Attributes:
        packed: uint32, the groups one behind the other, each from a whole word on.
        dual: what they are decoded to, all groups together.
        group: pairs of channels decoded at a time.
    """

    packed: NDArray[np.uint32]
    dual: DualWords
    group: int

    @property
    def nbytes(self) -> int:
        """Flash of packed words, magnitudes and channel numbers."""
        return int(self.packed.nbytes) + CHANNEL_BYTES * self.dual.channels.size

    @property
    def groups(self) -> int:
        """How many times a layer's kernel runs."""
        return -(-len(self.dual.channels) // self.group)

    @property
    def decoded_bytes(self) -> int:
        """Scratch of a group's words."""
        return decoded_bytes(self.group * self.dual.pair_words)


@dataclass(frozen=True, eq=False)
class Base3Rows:
    """A dense layer's two-bit trits in base 3.

    Attributes:
        packed: uint32, the groups one behind the other, each from a whole word on.
        magnitude: uint8[channels].
        group: channels decoded at a time.
        decoded_bytes: scratch of a group's words.
    """

    packed: NDArray[np.uint32]
    magnitude: NDArray[np.uint8]
    group: int
    decoded_bytes: int

    @property
    def nbytes(self) -> int:
        """Flash of packed words and magnitudes."""
        return int(self.packed.nbytes + self.magnitude.nbytes)


def store_dual(dual: DualWords, room: int) -> Base3Dual:
    """Dual-channel words in base 3, in as few groups of one size as are decoded to no more than `room` bytes."""
    together = dual.words.shape[2]
    rows = len(dual.words)
    most = max(1, room // (4 * dual.pair_words * together))
    group = -(-rows // -(-rows // most))
    packed = [to_base3(dual.words[first : first + group].ravel()) for first in range(0, rows, group)]
    return Base3Dual(np.concatenate(packed), dual, group * together)


def store_rows(trits: Int8, magnitude: NDArray[np.uint8], room: int) -> Base3Rows:
    """int8[channels, positions] trits of a dense layer in base 3, in groups of `room` bytes of trits."""
    channels, positions = trits.shape
    most = max(1, 4 * room // positions)
    group = -(-channels // -(-channels // most))
    words = [pack_run(trits[first : first + group]) for first in range(0, channels, group)]
    packed = np.concatenate(list(map(to_base3, words)))
    return Base3Rows(packed, magnitude, group, decoded_bytes(len(words[0])))


def decoded_bytes(words: int) -> int:
    """Bytes that so many words of two-bit trits are decoded to: whole packed words, then aligned."""
    packed = -(-words * 4 // _BYTES)
    return -(-packed * _BYTES // 4) * 4


def to_base3(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """uint32[ceil(n * 4 / 5)] from uint32[n] words of two-bit fields; a 3, which is a -1 there, is the digit 2."""
    fields = words.astype("<u4").view(np.uint8)[:, None] >> np.arange(0, 8, 2, dtype=np.uint8) & 3
    values = np.minimum(fields, 2).astype(np.int64) @ 3 ** np.arange(_FIELDS)
    by_word = np.pad(values, (0, -len(values) % _BYTES)).reshape(-1, _BYTES)
    numbers = by_word @ (3**_FIELDS) ** np.arange(_BYTES)[::-1]
    return np.array([-(-(int(number) << 32) // 3**DIGITS) for number in numbers], dtype=np.uint32)
