"""Finds the op of the golden model for each op of an array, as rewriting adds some."""

from __future__ import annotations

from itertools import takewhile

from tritguard.graph.flatbuffer import parse

_DECODE = "CUSTOM TFLM_DECODE"
_AS_CONVOLUTION = ["RESHAPE", "CONV_2D", "RESHAPE"]  # a dense layer for old builds, see `compat`


def golden_ops(golden: bytes, array: bytes) -> tuple[int, ...]:
    """For each op of the array's first subgraph, the index of the golden model's op that it is or works for.

    Args:
        golden: the `.tflite` file that the array was made from.
        array: the array's bytes, which are a `.tflite` file too.
    """
    left = [op.name for op in parse(array).ops]
    found: list[int] = []
    for op in parse(golden).ops:
        own = [*takewhile(_DECODE.__eq__, left), op.name]
        if left[: len(own)] != own:
            own = _AS_CONVOLUTION
        found += [op.index] * len(own)
        left = left[len(own) :]
    return tuple(found)
