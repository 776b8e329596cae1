"""The search behind the memory plan: it packs blocks with lifetimes into as few bytes as it can find.

The packing is left-justified: blocks are placed one after another, each at the lowest offset that those already placed
leave free. Some order of placing gives the smallest arena (take any optimum and place by rising offset), so it is
enough to search over orders. Small problems are searched exhaustively, larger ones by a local search, and by one that
also accepts worse orders where it is worth the time (`repack`). Seeds are fixed, so that the same graph always gives
the same plan.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, permutations

ALIGNMENT = 4
_EXHAUSTIVE = 6  # blocks that are searched exhaustively at most; they have 720 orders
_NEVER = 1 << 40  # more bytes than any packing spans
_TRIES = 20_000  # placements of one block in a local search, which take a second at most
_MORE_TRIES = 100_000  # the same in the search behind `repack`
_RESTARTS = 3  # restarts of that search, which share its tries
_HEAT = 0.012  # share of the span: an order that is worse by this much is still accepted often at the beginning


@dataclass(frozen=True)
class Block:
    """A number of bytes that is needed during steps first..last (inclusive)."""

    size: int
    first: int
    last: int


def aligned(size: int) -> int:
    """A size in bytes, rounded up to the arena's alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Received:
    """A block that is written from outside, with bytes around it that are free again once it has been received.

    Attributes:
        block: which of the blocks it is.
        before: bytes in front of it, inside the memory.
        behind: bytes behind it, inside the memory.
        others: the bytes in which all other blocks have to fit; the packing in `offsets` shows that they can.
        offsets: the offsets of the blocks in that packing; the entry for `block` does not count.
    """

    block: int
    before: int
    behind: int
    others: int
    offsets: tuple[int, ...]


def pack(
    blocks: Sequence[Block],
    leads: Mapping[tuple[int, int], int],
    enough: int = 0,
    received: Received | None = None,
) -> tuple[tuple[int, ...], int]:
    """The offsets of the blocks and the number of bytes that they span.

    Args:
        blocks: the blocks to place.
        leads: for (a, b), the bytes by which block b must start before block a to be allowed to overlap it; pairs
            without an entry never overlap while both are alive.
        enough: the search stops when a packing needs no more bytes than this; a lower bound, if one is known.
        received: a block with room around it, next to which the other blocks have to fit a given size.
    """
    place = _placing(blocks, leads, {} if received is None else {received.block: aligned(received.before)})
    placed = _all_placed(place, len(blocks))

    def ends(offsets: tuple[int, ...]) -> list[int]:
        return [at + aligned(block.size) for at, block in zip(offsets, blocks, strict=True)]

    def span(offsets: tuple[int, ...]) -> int:
        reached = ends(offsets)
        if received is None:
            return max(reached, default=0)
        own = reached.pop(received.block)
        all_ = max(aligned(own + received.behind), *reached, 0)
        return all_ if max(reached, default=0) <= received.others else all_ + _NEVER

    known: list[tuple[int, ...]] = []  # packings that need no search
    if received is not None:
        beside = {i: at for i, at in enumerate(received.offsets) if i != received.block}
        place(received.block, beside)
        known = [tuple(beside[i] for i in range(len(blocks)))]
    if len(blocks) <= _EXHAUSTIVE:
        candidates = chain(known, map(placed, permutations(range(len(blocks)))))
        best = next(candidates)
        for offsets in candidates:
            if span(best) <= enough:
                break
            best = min(best, offsets, key=span)
    elif known and span(known[0]) <= enough:
        best = known[0]
    else:
        starts = [*_usual(blocks), *([] if received is None else _with(received, len(blocks)))]
        best = min([*known, _search(starts, placed, span, enough)], key=span)
    return best, span(best)


def repack(
    blocks: Sequence[Block], leads: Mapping[tuple[int, int], int], offsets: tuple[int, ...], enough: int
) -> tuple[tuple[int, ...], int]:
    """A packing that spans no more bytes than a known one, after a search that takes a second or two.

    Args:
        blocks, leads: as for `pack`.
        offsets: the offsets of the blocks in the known packing.
        enough: the search stops when a packing needs no more bytes than this.
    """
    placed = _all_placed(_placing(blocks, leads, {}), len(blocks))

    def span(at: tuple[int, ...]) -> int:
        return max((start + aligned(block.size) for start, block in zip(at, blocks, strict=True)), default=0)

    best = offsets
    start = sorted(range(len(blocks)), key=lambda i: (offsets[i], i))
    for seed in range(_RESTARTS):
        found = _annealed(start, placed, span, enough, seed)
        best = min(best, found, key=span)
        if span(best) <= enough:
            break
    return best, span(best)


def _annealed(
    order: Sequence[int],
    placed: Callable[[Sequence[int]], tuple[int, ...]],
    span: Callable[[tuple[int, ...]], int],
    enough: int,
    seed: int,
) -> tuple[int, ...]:
    """The best packing on a walk over orders that accepts worse ones, ever fewer of them."""
    rng = random.Random(seed)
    order, best = list(order), placed(order)
    current = span(best)
    heat, tries = _HEAT * current, _MORE_TRIES // (_RESTARTS * len(order))
    for tried in range(tries):
        if span(best) <= enough:
            break
        moved = list(order)
        i, k = rng.randrange(len(order)), rng.randrange(len(order))
        if rng.random() < 0.5:
            moved.insert(k, moved.pop(i))
        else:
            moved[i], moved[k] = moved[k], moved[i]
        offsets = placed(moved)
        worse = span(offsets) - current
        if worse <= 0 or rng.random() < math.exp(-worse / (heat * (1 - tried / tries))):
            order, current = moved, span(offsets)
            best = min(best, offsets, key=span)
    return best


def _placing(
    blocks: Sequence[Block], leads: Mapping[tuple[int, int], int], least: Mapping[int, int]
) -> Callable[[int, dict[int, int]], None]:
    """The function that places one block among those that have an offset; `least` is the lowest offset of some."""
    gaps = _gaps(blocks, leads)
    alive = [
        [other for other, b in enumerate(blocks) if other != i and a.first <= b.last and b.first <= a.last]
        for i, a in enumerate(blocks)
    ]

    def place(i: int, offsets: dict[int, int]) -> None:
        walls = ((offsets[k] - gaps(i, k), offsets[k] + gaps(k, i)) for k in alive[i] if k in offsets)
        offsets[i] = _lowest(sorted(walls), least.get(i, 0))

    return place


def _all_placed(place: Callable[[int, dict[int, int]], None], count: int) -> Callable[[Sequence[int]], tuple[int, ...]]:
    """The function that places all blocks in a given order."""

    def placed(order: Sequence[int]) -> tuple[int, ...]:
        offsets: dict[int, int] = {}
        for i in order:
            place(i, offsets)
        return tuple(offsets[i] for i in range(count))

    return placed


def _usual(blocks: Sequence[Block]) -> list[list[int]]:
    """Orders from which a search may start."""
    indices = range(len(blocks))
    return [
        sorted(indices, key=lambda i: (-blocks[i].size, blocks[i].first)),
        sorted(indices, key=lambda i: (blocks[i].first, -blocks[i].size)),
        sorted(indices, key=lambda i: (-blocks[i].last, -blocks[i].size)),
        sorted(indices, key=lambda i: (-blocks[i].size, -blocks[i].last)),
    ]


def _with(received: Received, count: int) -> list[list[int]]:
    """Orders that place all other blocks by their known offsets, with the received one at each place in between."""
    others = sorted((i for i in range(count) if i != received.block), key=lambda i: received.offsets[i])
    return [[*others[:at], received.block, *others[at:]] for at in range(count - 1, -1, -1)]


def _gaps(blocks: Sequence[Block], leads: Mapping[tuple[int, int], int]) -> Callable[[int, int], int]:
    """The function that gives the least distance of the start of one block above that of another, in bytes."""

    def gap(below: int, above: int) -> int:
        size = aligned(blocks[below].size)
        return min(size, aligned(leads.get((above, below), size)))

    return gap


def _lowest(walls: list[tuple[int, int]], least: int) -> int:
    """The lowest offset from `least` on that is strictly inside none of the sorted walls."""
    offset = least
    for low, high in walls:
        if offset <= low:
            break
        offset = max(offset, high)
    return offset


def _search(
    starts: Sequence[Sequence[int]],
    placed: Callable[[Sequence[int]], tuple[int, ...]],
    span: Callable[[tuple[int, ...]], int],
    enough: int,
) -> tuple[int, ...]:
    """Start from the best of some orders, move one block at a time, and keep every order that is no worse."""
    order = min(starts, key=lambda start: span(placed(start)))
    best = placed(order)
    rng = random.Random(0)
    for _ in range(_TRIES // len(order)):
        if span(best) <= enough:
            break
        moved = list(order)
        moved.insert(rng.randrange(len(order)), moved.pop(rng.randrange(len(order))))
        offsets = placed(moved)
        if span(offsets) <= span(best):
            order, best = moved, offsets
    return best
