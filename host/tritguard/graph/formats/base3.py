"""Base 3: ternary weights at 1.6 bits each, decoded to two-bit trits in scratch, a group of channels at a time.

Twenty trits are the digits of the fraction that a 32-bit word stands for; firmware/kernels/tg_base3.h draws it and
proves that products with 81 give the trits back. A group is decoded to what its kernel reads: dual-channel words or
two-bit trits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.boards import CoreClass
from tritguard.graph.call import Parameters, window_fields
from tritguard.graph.formats.cost import Cost
from tritguard.graph.formats.dual import DualWords, has_few_rows, suits, tiles_kernel, vector_kernel
from tritguard.graph.formats.fields import CHANNEL_BYTES, weighted_fields
from tritguard.graph.formats.kernel import Bytes, Image, Kernel, Weights, window_of
from tritguard.graph.formats.registry import Site, offers
from tritguard.graph.formats.ternary import pack_run
from tritguard.graph.formats.two_bits import ternary2
from tritguard.graph.model import FullyConnected, Int8, Int32, Weighted

DIGITS = 20  # in a word
_FIELDS = 4  # two-bit trits in a byte
_BYTES = DIGITS // _FIELDS  # bytes decoded from a word


@dataclass(frozen=True, eq=False)
class Base3Dual(Weights):
    """Dual-channel words in base 3.

    Attributes:
        packed: uint32, the groups one after the other, each starting at a new word.
        dual: the words that all groups together are decoded to.
        group: the pairs of channels that are decoded at a time.
    """

    by_rows = True
    by_pixel = True
    packed: NDArray[np.uint32]
    dual: DualWords
    group: int

    @property
    @override
    def nbytes(self) -> int:
        return int(self.packed.nbytes) + CHANNEL_BYTES * self.dual.channels.size

    @property
    def groups(self) -> int:
        """The number of groups, for each of which the kernel runs once."""
        return -(-len(self.dual.channels) // self.group)

    @property
    def decoded_bytes(self) -> int:
        """The bytes of scratch that the decoded words of a group take."""
        return decoded_bytes(self.group * self.dual.pair_words)

    @override
    def parameters(self, op: Weighted, bias: Int32, source: Image, sink: Image) -> Parameters:
        return {
            "dual": self.dual.fields(op, bias, source, sink, "NULL"),
            "packed": self.packed,
            "group": self.group,
            "decoded_bytes": self.decoded_bytes,
        }


@dataclass(frozen=True, eq=False)
class Base3Rows(Weights):
    """A dense layer's two-bit trits in base 3.

    Attributes:
        packed: uint32, the groups one after the other, each starting at a new word.
        magnitude: uint8[channels].
        group: the channels that are decoded at a time.
        decoded_bytes: the bytes of scratch that the decoded words of a group take.
    """

    centres = True
    packed: NDArray[np.uint32]
    magnitude: NDArray[np.uint8]
    group: int
    decoded_bytes: int

    @property
    @override
    def nbytes(self) -> int:
        return int(self.packed.nbytes + self.magnitude.nbytes)

    @override
    def parameters(self, op: Weighted, bias: Int32, source: Image, sink: Image) -> Parameters:
        layer = weighted_fields(op, bias, {"magnitude": self.magnitude})
        return {
            "ternary": {"window": window_fields(window_of(op), source, sink), "layer": layer},
            "packed": self.packed,
            "group": self.group,
        }

    @override
    def is_defined(self, op: Weighted, memory: Bytes, clean: Bytes) -> bool:
        """Padding is decoded and never read."""
        return True


_CODE_BYTES = {"tg_conv2d_base3.c": 300, "tg_dense_base3.c": 300, "tg_ternary_base3.c": 400}


@offers("base3", array="packed", code_bytes=_CODE_BYTES)
def base3(site: Site) -> list[Kernel]:
    """The kernel that decodes to what the fastest kernel of two-bit trits reads."""
    if suits(site):
        return [_dual_kernel(site, *(vector_kernel if has_few_rows(site.op) else tiles_kernel)(site))]
    one_vector = isinstance(site.op, FullyConnected) and site.op.rows == 1
    return [_rows_kernel(site, each) for each in ternary2(site)] if one_vector else []


def _dual_kernel(site: Site, plain: Kernel, prepared: Cost) -> Kernel:
    """The kernel with its words in base 3; prepared: the cost that each group of channels after the first adds."""
    assert isinstance(plain.weights, DualWords)
    stored = store_dual(plain.weights, max(site.room - plain.scratch_bytes, site.room // 2))
    decoding = _decoding(len(stored.packed), site.core)
    name = plain.function.replace("_dual", "_base3")
    return replace(
        plain,
        function=name,
        sources=(f"{name}.c", *plain.sources),
        weight_format="base3",
        weights=stored,
        cost=plain.cost + decoding + prepared.times(stored.groups - 1),
        scratch_bytes=stored.decoded_bytes + plain.scratch_bytes,
        order="tiles" if stored.groups == 1 else "any",
        decoding=decoding.cycles,
        struct="tg_dual_base3_t",
    )


def _rows_kernel(site: Site, plain: Kernel) -> Kernel:
    """The kernel of a dense layer with its two-bit trits in base 3."""
    assert site.trits is not None
    stored = store_rows(site.trits.trits, site.trits.magnitude, site.room)
    decoding = _decoding(len(stored.packed), site.core)
    return replace(
        plain,
        function="tg_ternary_base3",
        sources=("tg_ternary_base3.c", *plain.sources),
        weight_format="base3",
        weights=stored,
        cost=plain.cost + decoding,
        scratch_bytes=stored.decoded_bytes,
        order="pixels" if stored.group >= len(site.trits.trits) else "any",
        decoding=decoding.cycles,
        struct="tg_ternary_base3_t",
    )


def _decoding(words: int, core: CoreClass) -> Cost:
    """The cost of decoding words of twenty trits."""
    return Cost.of((words, 60, 75) if core == "m0" else (words, 19, 28))


def store_dual(dual: DualWords, room: int) -> Base3Dual:
    """Dual-channel words in base 3, in the fewest groups of equal size that decode to at most `room` bytes."""
    together = dual.words.shape[2]
    rows = len(dual.words)
    most = max(1, room // (4 * dual.pair_words * together))
    group = -(-rows // -(-rows // most))
    packed = [to_base3(dual.words[first : first + group].ravel()) for first in range(0, rows, group)]
    return Base3Dual(np.concatenate(packed), dual, group * together)


def store_rows(trits: Int8, magnitude: NDArray[np.uint8], room: int) -> Base3Rows:
    """int8[channels, positions] trits of a dense layer in base 3, in groups of about `room` bytes of decoded trits."""
    channels, positions = trits.shape
    most = max(1, 4 * room // positions)
    group = -(-channels // -(-channels // most))
    words = [pack_run(trits[first : first + group]) for first in range(0, channels, group)]
    packed = np.concatenate(list(map(to_base3, words)))
    return Base3Rows(packed, magnitude, group, decoded_bytes(len(words[0])))


def decoded_bytes(words: int) -> int:
    """The bytes that `words` words of two-bit trits take when decoded from whole packed words, aligned to four."""
    packed = -(-words * 4 // _BYTES)
    return -(-packed * _BYTES // 4) * 4


def to_base3(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """uint32[ceil(n * 4 / 5)] from uint32[n] words of two-bit fields; a 3, which is a -1 there, is the digit 2."""
    fields = words.astype("<u4").view(np.uint8)[:, None] >> np.arange(0, 8, 2, dtype=np.uint8) & 3
    values = np.minimum(fields, 2).astype(np.int64) @ 3 ** np.arange(_FIELDS)
    by_word = np.pad(values, (0, -len(values) % _BYTES)).reshape(-1, _BYTES)
    numbers = by_word @ (3**_FIELDS) ** np.arange(_BYTES)[::-1]
    return np.array([-(-(int(number) << 32) // 3**DIGITS) for number in numbers], dtype=np.uint32)
