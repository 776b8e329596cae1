"""Whether the twin can follow a fault: whether what a faulty layer computes is the same on every machine.

Two kinds of bits lead elsewhere. A sparse list's steps and counts are addresses: where they lead outside, the device
reads, and may crash on, what the host has no copy of. And weights of positions that a window was padded with meet
whatever the scratch holds there, which is nothing to weights of zero, and another thing on another machine to others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.faults.bits import PADDING, map_bits
from tritguard.graph.formats.base3 import Base3Dual
from tritguard.graph.formats.dual import DualWords
from tritguard.graph.formats.kernel import Kernel
from tritguard.graph.formats.lists import SparseLists, StepLists
from tritguard.graph.model import Weighted

Bytes = NDArray[np.uint8]


def is_defined(op: Weighted, kernel: Kernel, memory: Bytes, clean: Bytes) -> bool:
    """Whether device and twin compute the same with these bytes of a layer's weights.

    Args:
        op: the layer.
        kernel: what runs it.
        memory: the weights with flips.
        clean: the same without.
    """
    weights = kernel.weights
    if isinstance(weights, StepLists):
        reach = (weights.scratch_bytes - 3 * weights.positions) // weights.unit_bytes
        return _ends_inside(memory, [False] * weights.channels, reach)
    if isinstance(weights, SparseLists):
        reach = (weights.scratch_bytes // 4 - 3 * weights.half) // weights.unit_words
        return _ends_inside(memory, [True] * len(weights.surplus), reach)
    if isinstance(weights, Base3Dual):  # the trits behind a flipped one change too, those of padding among them
        return bool((memory == clean).all())
    if isinstance(weights, DualWords) or kernel.weight_format == "int8":
        bits = map_bits(op, kernel)
        assert bits is not None
        changed = np.unpackbits(memory ^ clean, bitorder="little").reshape(-1, 8)
        return not changed[bits.weight == PADDING].any()
    return True  # what is padded is never read


def _ends_inside(memory: Bytes, has_runs: list[bool], reach: int) -> bool:
    """Walk the lists as the kernels do (tg_lists.h): every step within `reach` units, every byte within the array."""
    at = 0
    for counted in has_runs:
        if at >= len(memory):
            return False
        runs = int(memory[at]) if counted else 1
        at += int(counted)
        for _ in range(runs):
            if at + 2 > len(memory):
                return False
            minus, plus = int(memory[at]), int(memory[at + 1])
            steps = memory[at + 2 : at + 2 + minus + plus]
            at += 2 + minus + plus
            if at > len(memory) or max(int(steps[:minus].sum()), int(steps[minus:].sum())) > reach:
                return False
    return True
