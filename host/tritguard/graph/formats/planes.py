"""Planes: a channel's input laid out so that each tap of the window reads all outputs' inputs at one constant offset.

Output (y, x) is position y * pitch + x. firmware/kernels/tg_taps.h draws a plane and the phases of a stride.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritguard.graph.model import Window

POSITIONS_A_TILE = 16  # positions that kernels over planes of bytes compute together


@dataclass(frozen=True, eq=False)
class Planes:
    """The geometry of one channel's planes.

    Attributes:
        pitch: the positions from one row to the next.
        rows: the rows of a phase.
        overhang: the elements that the padding of the last row takes beyond these rows.
        phases: the number of planes that a channel is split into by the strides.
        phase: int64[taps], the phase that each tap reads, with taps in the order of the weights.
        offset: int64[taps], the place in that phase where the tap reads for position 0.
    """

    pitch: int
    rows: int
    overhang: int
    phases: int
    phase: NDArray[np.int64]
    offset: NDArray[np.int64]


def planes_of(window: Window, out: tuple[int, int], source: tuple[int, int]) -> Planes:
    """The planes of a window; out and source are (height, width) of the output and the input."""
    padded = [
        max(before + size, (count - 1) * stride + (kernel - 1) * dilation + 1)
        for size, count, kernel, stride, dilation, before in zip(
            source, out, window.kernel, window.stride, window.dilation, window.padding, strict=True
        )
    ]
    vertical, horizontal = window.stride
    # With a stride of one, the right padding of a row is the left padding of the next.
    overhang = min(window.padding[1], padded[1] - source[1] - window.padding[1]) if horizontal == 1 else 0
    pitch = -(-(padded[1] - overhang) // horizontal)
    y, x = (np.arange(size) * step for size, step in zip(window.kernel, window.dilation, strict=True))
    phase = (y[:, None] % vertical) * horizontal + x % horizontal
    offset = (y[:, None] // vertical) * pitch + x // horizontal
    return Planes(pitch, -(-padded[0] // vertical), overhang, vertical * horizontal, phase.ravel(), offset.ravel())
