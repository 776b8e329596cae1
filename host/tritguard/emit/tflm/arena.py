"""The size of the tensor arena, as measured in TFLM's interpreter, and what other kernels need beyond it."""

from __future__ import annotations

from math import prod

import tflite

from tritguard.graph.flatbuffer import RawModel, RawOp, RawTensor, reading
from tritguard.graph.reading.checks import options_of
from tritguard.records import Record

_HELIUM_BLOCK = 124  # CMSIS-NN's CH_IN_BLOCK_MVE
_LSTM_SUMS = 8  # two for each gate


class Scratch(Record):
    """The bytes that CMSIS-NN's kernels need beyond the measured ones.

    They are the most scratch of one layer and, with Helium, what every dense layer keeps.
    """

    plain: int
    helium: int


class Arena(Record):
    """Bytes of the tensor arena, measured in tflite-micro's interpreter: reference kernels, 64-bit pointers.

    Attributes:
        measured: the smallest arena in which the model runs, see `oracle.ArenaUse`.
        activations: the part that holds no pointers and is the same on every core.
        structures: the part for tensors, nodes and op data; a 32-bit core needs between half of it and all.
    """

    measured: int
    activations: int
    structures: int


def cmsis_scratch(raw: RawModel) -> Scratch:
    """An upper bound of what CMSIS-NN's `*_get_buffer_size` functions return, with Helium and without.

    Layers take turns with their scratch. What a layer makes once is kept: the sums of the weights of an LSTM and, with
    Helium, of a dense layer and an SVDF.
    """
    with reading():
        plain, helium = zip(*(_layer_scratch(raw, op) for op in raw.ops), strict=True)
        always = sum(_LSTM_SUMS * _aligned(_sum_bytes(raw, op) * _weights(raw, op).shape[0])
                     for op in raw.ops if op.name == "UNIDIRECTIONAL_SEQUENCE_LSTM")  # fmt: skip
        kept = sum(_aligned(4 * _weights(raw, op).shape[0]) for op in raw.ops if op.name in ("FULLY_CONNECTED", "SVDF"))
    return Scratch(plain=_aligned(max(plain)) + always, helium=_aligned(max(helium)) + kept + always)


def _sum_bytes(raw: RawModel, op: RawOp) -> int:
    return 8 if raw.tensors[op.input(0)].type == "INT16" else 4


def _aligned(size: int) -> int:
    return -(-size // 16) * 16


def _weights(raw: RawModel, op: RawOp) -> RawTensor:
    return raw.tensors[op.input(1)]


def _layer_scratch(raw: RawModel, op: RawOp) -> tuple[int, int]:
    """The scratch of one layer in bytes, without and with Helium."""
    if op.name == "CONV_2D":
        return _columns(prod(_weights(raw, op).shape[1:]))
    if op.name == "TRANSPOSE_CONV":
        return _transposed(raw, op)
    if op.name == "DEPTHWISE_CONV_2D":
        window = prod(_weights(raw, op).shape[1:3])  # its rows are laid out anew
        source = raw.tensors[op.input(0)]
        row = 4 * 2 * source.shape[-1] * window + 8 if source.type == "INT16" else 4 * _HELIUM_BLOCK * window
        return 2 * window * source.shape[-1], row
    if op.name == "AVERAGE_POOL_2D":
        return 4 * raw.tensors[op.input(0)].shape[-1], 0  # its sums
    if op.name == "BATCH_MATMUL":
        return 0, 4 * raw.tensors[op.output(0)].shape[-1]  # sums of rows
    return 0, 0


def _columns(column: int) -> tuple[int, int]:
    """The bytes of a convolution's columns of `column` values: two of int16, or four of int8 in whole vectors."""
    return 4 * (-(-column // 4) * 4), 4 * _aligned(column)


def _transposed(raw: RawModel, op: RawOp) -> tuple[int, int]:
    """Bytes for reordered weights and a convolution's columns, or for the sums of a window's rows if they are more."""
    options, weights = options_of(op, tflite.TransposeConvOptions), _weights(raw, op)
    channels, height, width, _ = weights.shape
    stride_h, stride_w = options.StrideH(), options.StrideW()
    across = (raw.tensors[op.input(2)].shape[2] - 1) * stride_w + max(width, stride_h)
    sums = 4 * across * channels * max(height, stride_h)
    plain, helium = _columns(prod(weights.shape[1:]))
    turned = _aligned(prod(weights.shape))
    return max(turned + plain, sums), max(turned + helium, sums)
