"""Whether a sparse list, after bits of it were flipped, still reads within its planes.

The other formats are read at fixed places and stay defined whatever their bits are. A list's steps and counts are
addresses: where they lead outside, the device reads, and may crash on, what the host has no copy of.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tritguard.graph.kernels import Kernel
from tritguard.graph.lists import SparseLists, StepLists


def is_defined(kernel: Kernel, memory: NDArray[np.uint8]) -> bool:
    """Whether device and twin compute the same with these bytes of the kernel's weights."""
    weights = kernel.weights
    if isinstance(weights, StepLists):
        reach = (weights.scratch_bytes - 3 * weights.positions) // weights.unit_bytes
        return _ends_inside(memory, [False] * weights.channels, reach)
    if isinstance(weights, SparseLists):
        reach = (weights.scratch_bytes // 4 - 3 * weights.half) // weights.unit_words
        return _ends_inside(memory, [True] * len(weights.surplus), reach)
    return True


def _ends_inside(memory: NDArray[np.uint8], has_runs: list[bool], reach: int) -> bool:
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
