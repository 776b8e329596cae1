"""Dual-channel words: two ternary output channels in one 16-bit lane, four multiply-accumulates per SMLAD.

A lane holds the trits of a low and of a high channel at one position of the window: (low + 1) + high * 2^14. Two
lanes, two positions, are the operand of an SMLAD; four such pairs, rotated by 0, 4, 8 and 12 bits, fill a 32-bit word
with the 16 trits of eight positions. firmware/kernels/tg_dual.h draws the layout and proves the bounds kept here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.boards import CoreClass
from tritguard.graph.call import Parameters, window_fields
from tritguard.graph.formats.bits import OFFSET_CODE, PADDING, SIGNED_CODE, BitMap, trit_bits
from tritguard.graph.formats.columns import columns_bytes, columns_cost
from tritguard.graph.formats.cost import TILE, Cost, Shape, shape_of
from tritguard.graph.formats.fields import CHANNEL_BYTES, NO_CHANNEL, trit_channels, trit_scale
from tritguard.graph.formats.kernel import Bytes, Image, Kernel, Weights, bits_of, folded_bias, window_of
from tritguard.graph.formats.registry import Site, offers
from tritguard.graph.model import DepthwiseConv2D, FullyConnected, Int8, Int32, Weighted

POSITIONS_PER_WORD = 8
MAX_LOW, MAX_HIGH = 63, 1023  # nonzeros in a block of the low channel, and in a segment of the high one

# The positions of a word that the two lanes of each step hold: SXTB16 takes the even bytes of four, then the odd ones.
_STEPS = np.array([[0, 2], [1, 3], [4, 6], [5, 7]])
_TURNS = np.arange(0, 16, 4, dtype=np.uint32)


@dataclass(frozen=True, eq=False)
class DualWords(Weights):
    """Packed trits of a convolution or dense layer.

    Attributes:
        words: uint32[groups, n, together], n words for each pair of channels, with `together` pairs side by side.
        channels: int32[pairs, 2], the low and the high output channel of each pair; NO_CHANNEL where none is left.
        block_words: words between two splits of the accumulator's low part.
        segment_words: words between two splits of its high part.
    """

    by_rows = True
    by_pixel = True
    words: NDArray[np.uint32]
    channels: Int32
    block_words: int
    segment_words: int

    @property
    @override
    def nbytes(self) -> int:
        return int(self.words.nbytes) + CHANNEL_BYTES * self.channels.size

    def lanes(self) -> Int32:
        """int32[2 * pairs]: the channels in the order of their sums, first the low ones of a group, then the high."""
        together = self.words.shape[2]
        return self.channels.reshape(-1, together, 2).transpose(0, 2, 1).ravel()

    @property
    def pair_words(self) -> int:
        """The number of words in a pair."""
        return int(self.words.shape[1])

    @property
    def blocks(self) -> int:
        """The number of blocks in a pair."""
        return -(-self.pair_words // self.block_words)

    @override
    def parameters(self, op: Weighted, bias: Int32, source: Image, sink: Image) -> Parameters:
        return self.fields(op, bias, source, sink, self.words.ravel())

    def fields(
        self, op: Weighted, bias: Int32, source: Image, sink: Image, trits: NDArray[np.uint32] | str
    ) -> Parameters:
        """The fields of a `tg_dual_t`; trits: the words, or a C expression for their address."""
        return {
            "window": window_fields(window_of(op), source, sink),
            "trits": trits,
            "lanes": trit_channels(op, bias, self.lanes()),
            "pairs": len(self.channels),
            "words": self.pair_words,
            "block_words": self.block_words,
            "segment_words": self.segment_words,
            "in_zero_point": op.input_zero_point,
            "scale": trit_scale(op),
        }

    @override
    def bits(self, op: Weighted) -> BitMap:
        positions = op.weights.size // len(op.bias)
        groups, words, together = self.words.shape
        position, high, _ = bit_places().T
        pair = np.arange(groups)[:, None, None] * together + np.arange(together)
        channel = self.channels[pair][..., high]  # [groups, 1, together, 32]
        place = np.arange(words)[:, None, None] * POSITIONS_PER_WORD + position  # [words, 1, 32]
        weight = np.where((channel >= 0) & (place < positions), channel * positions + place, PADDING).reshape(-1, 8)
        codes = np.where(high[::2, None] == 1, SIGNED_CODE, OFFSET_CODE).reshape(4, 4, 4)  # bytes of a word
        return trit_bits(op, weight, np.tile(codes, (len(weight) // 4, 1, 1)))

    @override
    def is_defined(self, op: Weighted, memory: Bytes, clean: Bytes) -> bool:
        """Whether the padding is unchanged: a weight there that is not zero meets whatever the scratch holds."""
        bits = bits_of(op, self)
        return bits is not None and bits.leaves_padding(memory, clean)


@offers("dual2", array="trits", code_bytes={"tg_conv2d_dual.c": 2900})
def dual2(site: Site) -> list[Kernel]:
    """The kernel over tiles of pixels, on a core with SMLAD or vectors."""
    return [tiles_kernel(site)[0]] if suits(site) else []


@offers("quad2", array="trits", code_bytes={"tg_dense_dual.c": 1500})
def quad2(site: Site) -> list[Kernel]:
    """The kernel over one vector at a time, with four pairs of channels side by side, for a dense layer of few rows."""
    return [vector_kernel(site)[0]] if suits(site) and has_few_rows(site.op) else []


def suits(site: Site) -> bool:
    """Whether the layer is ternary, a convolution or fully connected, and its core has what the words are made for."""
    return site.trits is not None and site.core in ("m4", "m55") and not isinstance(site.op, DepthwiseConv2D)


def has_few_rows(op: Weighted) -> bool:
    """Whether a dense layer is one whose rows are taken one by one."""
    return isinstance(op, FullyConnected) and op.rows < TILE


def tiles_kernel(site: Site) -> tuple[Kernel, Cost]:
    """The kernel over tiles of pixels, and the cost of preparing its activations once more."""
    assert site.trits is not None
    op, shape = site.op, shape_of(site.op)
    words = pack_dual(site.trits.trits.reshape(shape.channels, -1))
    # The last word's columns may end half a word behind those of tg_columns.h.
    scratch = words.blocks * TILE * 4 + columns_bytes(site.graph, op) + 4 * TILE * 2
    prepared = _columns_cost(shape, words.pair_words, site.core)
    expected = prepared + _tiles_cost(shape, words, site.core)
    return _kernel("tg_conv2d_dual", "dual2", words, op, expected, scratch), prepared


def vector_kernel(site: Site) -> tuple[Kernel, Cost]:
    """The kernel over one vector, four pairs of channels at a time, and the cost of preparing its activations again."""
    assert site.trits is not None
    op, shape = site.op, shape_of(site.op)
    words = pack_dual(site.trits.trits, TILE)
    scratch = words.blocks * TILE * 4 + words.pair_words * 16
    prepared = Cost.of((shape.pixels * shape.positions, 5, 7))
    expected = prepared + _vector_cost(shape, words, site.core)
    return _kernel("tg_dense_dual", "quad2", words, op, expected, scratch), prepared


def _kernel(name: str, weight_format: str, words: DualWords, op: Weighted, expected: Cost, scratch: int) -> Kernel:
    bias = folded_bias(op)
    return Kernel(name, (f"{name}.c",), weight_format, words, bias, expected, scratch, "tiles", struct="tg_dual_t")


def _columns_cost(shape: Shape, words: int, core: CoreClass) -> Cost:
    """The cost of columns and of their sums."""
    return columns_cost(shape) + Cost.of((shape.tiles * words, *((11, 20) if core == "m55" else (21, 39))))


def _tiles_cost(shape: Shape, packed: DualWords, core: CoreClass) -> Cost:
    pairs, words, blocks = len(packed.channels), packed.pair_words, packed.blocks
    word, pair = ((16, 26), (138, 180)) if core == "m55" else ((26, 44), (72, 105))
    return Cost.of(
        (shape.tiles * pairs * words, *word), (shape.tiles * pairs * blocks, 33, 48), (shape.tiles * pairs, *pair),
        (shape.tiles * shape.channels, 47, 65),
    )  # fmt: skip


def _vector_cost(shape: Shape, packed: DualWords, core: CoreClass) -> Cost:
    groups, words, blocks = len(packed.channels) // TILE, packed.pair_words, packed.blocks
    return Cost.of(
        (shape.pixels * groups * words, *((33, 44) if core == "m55" else (37.5, 46))),
        (shape.pixels * groups * blocks, 34, 48),
        (shape.pixels * groups, 60, 85), (shape.pixels * shape.channels, 30, 36),
    )  # fmt: skip


def pack_dual(trits: Int8, together: int = 1) -> DualWords:
    """Pack int8[channels, positions], in the longest blocks that the accumulator's bounds allow for these weights.

    Args:
        trits: in {-1, 0, 1}.
        together: pairs of channels whose words lie side by side; empty pairs fill the last group.
    """
    count, positions = trits.shape
    padded = np.pad(trits, ((0, 1), (0, -positions % POSITIONS_PER_WORD)))  # the last channel is NO_CHANNEL's
    by_word = padded.reshape(count + 1, -1, POSITIONS_PER_WORD)
    nonzeros = np.count_nonzero(by_word[:count], axis=2)
    channels, block_words = _seat(nonzeros)
    channels = np.pad(channels, ((0, -len(channels) % together), (0, 0)), constant_values=NO_CHANNEL)
    lanes = (by_word[channels[:, 0]] + 1).astype(np.uint32) | (by_word[channels[:, 1]].astype(np.uint32) & 3) << 14
    steps = lanes[..., _STEPS[:, 0]] | lanes[..., _STEPS[:, 1]] << 16
    words = np.bitwise_or.reduce(_rotate_left(steps, _TURNS), axis=-1)
    grouped = words.reshape(-1, together, words.shape[1]).transpose(0, 2, 1)
    segment = _segment_words(nonzeros[channels[channels[:, 1] != NO_CHANNEL, 1]], block_words)
    return DualWords(np.ascontiguousarray(grouped), channels, block_words, segment)


def unpack_dual(packed: DualWords, channels: int, positions: int) -> Int8:
    """int8[channels, positions], the trits that were packed."""
    by_pair = packed.words.transpose(0, 2, 1).reshape(len(packed.channels), -1, 1)
    steps = _rotate_left(by_pair, np.array([0, 28, 24, 20], dtype=np.uint32))
    lanes = np.empty((*steps.shape[:2], POSITIONS_PER_WORD), dtype=np.uint32)
    lanes[..., _STEPS[:, 0]], lanes[..., _STEPS[:, 1]] = steps & 0xC003, steps >> 16 & 0xC003
    by_position = lanes.reshape(len(lanes), -1)[:, :positions].astype(np.int64)
    trits = np.zeros((channels + 1, positions), dtype=np.int8)
    trits[packed.channels[:, 0]] = (by_position & 3) - 1
    trits[packed.channels[:, 1]] = np.array([0, 1, 0, -1])[by_position >> 14]
    return trits[:channels]


def bit_places() -> NDArray[np.int64]:
    """int64[32, 3]: for each bit of a word its position, whether its channel is the high one, its bit of the trit."""
    places = np.empty((32, 3), dtype=np.int64)
    for turn, positions in zip(_TURNS.tolist(), _STEPS.tolist(), strict=True):
        for lane, position in enumerate(positions):
            for high in (0, 1):
                for bit in (0, 1):
                    places[(turn + 16 * lane + 14 * high + bit) % 32] = position, high, bit
    return places


def _rotate_left(words: NDArray[np.integer[Any]], bits: NDArray[np.uint32]) -> NDArray[np.uint32]:
    turned = words.astype(np.uint64) << bits
    return (turned | turned >> 32).astype(np.uint32)


def _seat(nonzeros: NDArray[np.int64]) -> tuple[Int32, int]:
    """The channels that share lanes, and the longest blocks in which both keep their bounds.

    The half of the channels with the fewest nonzeros in their fullest block become low channels, where only 63 fit.

    Args:
        nonzeros: int64[channels, words].
    """
    count, words = nonzeros.shape
    lows = (count + 1) // 2
    for blocks in range(1, words + 1):
        block_words = -(-words // blocks)
        fullest = np.add.reduceat(nonzeros, np.arange(0, words, block_words), axis=1).max(axis=1)
        order = np.argsort(fullest, kind="stable")
        if fullest[order[lows - 1]] <= MAX_LOW and fullest[order[-1]] <= MAX_HIGH:
            break  # with blocks of one word, eight positions, at the latest
    low, high = np.sort(order[:lows]), np.sort(order[lows:])
    seats = np.stack([low, np.pad(high, (0, count % 2), constant_values=NO_CHANNEL)], axis=1)
    return seats.astype(np.int32), block_words


def _segment_words(high: NDArray[np.int64], block_words: int) -> int:
    """The words in the most blocks that keep all high channels in bounds; high: int64[channels, words] nonzeros."""
    words = high.shape[1]
    for blocks in range(-(-words // block_words), 1, -1):
        starts = np.arange(0, words, blocks * block_words)
        if np.add.reduceat(high, starts, axis=1).max(initial=0) <= MAX_HIGH:
            return blocks * block_words
    return block_words
