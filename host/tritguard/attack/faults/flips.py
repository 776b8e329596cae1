"""Single-bit faults in weights in flash, addressed by symbol, so that a flip is the same in firmware and twin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritguard.emit.weights import WeightArray


@dataclass(frozen=True, order=True)
class Flip:
    """One bit of a weight array.

    Attributes:
        symbol: the C symbol of the array.
        byte: the byte's index within the array.
        bit: 0 to 7, where 0 is the least significant.
    """

    symbol: str
    byte: int
    bit: int


def flip(memory: Mapping[str, NDArray[np.uint8]], flips: Iterable[Flip]) -> None:
    """Flip these bits in place; the same call undoes it."""
    for each in flips:
        memory[each.symbol][each.byte] ^= np.uint8(1 << each.bit)


def flipped_image(image: bytes, arrays: Sequence[WeightArray], flips: Iterable[Flip]) -> bytes:
    """The bytes of a firmware's ELF with these bits of its weights flipped and nothing else changed."""
    changed = bytearray(image)
    offsets = {array.symbol: array.offset for array in arrays}
    for each in flips:
        changed[offsets[each.symbol] + each.byte] ^= 1 << each.bit
    return bytes(changed)


def every_bit(memory: Mapping[str, NDArray[np.uint8]]) -> int:
    """The number of bits in the weights."""
    return 8 * sum(len(array) for array in memory.values())


def draw_flips(memory: Mapping[str, NDArray[np.uint8]], count: int, seed: int) -> tuple[Flip, ...]:
    """Draw `count` distinct bits uniformly over all weights; for one seed, a smaller draw is a prefix of a larger one.

    Threat model: radiation, worn-out flash, or an attacker with a fault injector who cannot aim (Rowhammer, glitches).

    Raises:
        ValueError: there are fewer bits than that.
    """
    if count > every_bit(memory):
        raise ValueError(f"{count} flips of {every_bit(memory)} bits")
    symbols, ends = list(memory), np.cumsum([8 * len(array) for array in memory.values()])
    rng = np.random.default_rng(seed)
    chosen: dict[int, None] = {}  # a dict, as its keys are ordered
    while len(chosen) < count:
        chosen.setdefault(int(rng.integers(ends[-1])))
    places = np.array(list(chosen), dtype=np.int64)
    owner = np.searchsorted(ends, places, side="right")
    within = places - np.concatenate([[0], ends[:-1]])[owner]
    return tuple(Flip(symbols[o], int(w) // 8, int(w) % 8) for o, w in zip(owner, within, strict=True))
