"""The size of the tensor arena: measured in TFLM's interpreter, and what other kernels need beyond it."""

from __future__ import annotations

from math import prod

from tritguard.graph.flatbuffer import RawModel, RawOp, reading
from tritguard.records import Record

_HELIUM_BLOCK = 124  # CMSIS-NN's CH_IN_BLOCK_MVE


class Scratch(Record):
    """The most scratch one layer takes with CMSIS-NN's kernels, in bytes; the measured ones take none."""

    plain: int
    helium: int


class Arena(Record):
    """Bytes of the tensor arena, measured in tflite-micro's interpreter: reference kernels, 64-bit pointers.

    Attributes:
        measured: the least the model runs with; see `oracle.ArenaUse`.
        activations: of it, what holds no pointers and is the same on every core.
        structures: of it, tensors, nodes and op data: on a 32-bit core between half of this and all.
    """

    measured: int
    activations: int
    structures: int


def cmsis_scratch(raw: RawModel) -> Scratch:
    """An upper bound of what CMSIS-NN's `*_get_buffer_size` functions return, with Helium and without."""
    with reading():
        sizes = [_layer_scratch(raw, op) for op in raw.ops]
    return Scratch(plain=max(_aligned(plain) for plain, _ in sizes), helium=max(_aligned(mve) for _, mve in sizes))


def _aligned(size: int) -> int:
    return -(-size // 16) * 16


def _layer_scratch(raw: RawModel, op: RawOp) -> tuple[int, int]:
    """(without Helium, with it): two im2col columns of int16, or four of int8 in whole vectors; rows of a depthwise
    window; sums of an average; sums of a dense layer's weights."""
    if op.name == "CONV_2D":
        column = prod(raw.tensors[op.inputs[1]].shape[1:])
        return 4 * (-(-column // 4) * 4), 4 * _aligned(column)
    if op.name == "DEPTHWISE_CONV_2D":
        window = prod(raw.tensors[op.inputs[1]].shape[1:3])
        return 2 * window * raw.tensors[op.inputs[0]].shape[-1], 4 * _HELIUM_BLOCK * window
    if op.name == "AVERAGE_POOL_2D":
        return 4 * raw.tensors[op.inputs[0]].shape[-1], 0
    if op.name == "FULLY_CONNECTED":
        return 0, 4 * raw.tensors[op.inputs[1]].shape[0]
    return 0, 0
