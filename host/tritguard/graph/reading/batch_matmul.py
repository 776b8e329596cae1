"""The reader of products of matrices."""

from __future__ import annotations

import numpy as np
import tflite

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.arithmetic import fixed_point
from tritguard.graph.call import KernelCall, Parameters, calls, product_fields
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import BatchMatMul, Int8, Op, Tensor, strided_places
from tritguard.graph.reading.checks import NO_CLAMP, options_of
from tritguard.graph.reading.operand import Operand, operand
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import reads, reads_wide
from tritguard.graph.wide import WideMatMul

_MOST_DEPTH = 1 << 16  # so that sums of 16-bit products stay within the 47 bits of TFLM's rescaling


@reads("BATCH_MATMUL", device="one sum of products for each output element")
def batch_matmul(reader: Reader, raw: RawOp) -> Op:
    """BATCH_MATMUL; either operand may be a constant and either may be transposed."""
    output, options = reader.output(raw), options_of(raw, tflite.BatchMatMulOptions)
    first, second = (operand(reader, raw, position) for position in range(2))
    if min(len(first.shape), len(second.shape)) < 2:
        raise BadModelError(f"{list(first.shape)} times {list(second.shape)}", where=raw.describe())
    left = _laid(first, transposed=bool(options.AdjX()))
    right = _laid(second, transposed=not options.AdjY())  # both end with the depth
    if left.shape[-1] != right.shape[-1] or left.shape[-2] * right.shape[-2] * _count(left, right) != output.size:
        raise BadModelError(
            f"{list(first.shape)} times {list(second.shape)} into {list(output.dims)}", where=raw.describe()
        )
    # `GetQuantizedConvolutionMultipler` multiplies the two scales in float32 before it widens them.
    product = float(np.float32(first.scale) * np.float32(second.scale))
    return BatchMatMul(
        index=raw.index,
        inputs=tuple(each.tensor for each in (first, second) if each.tensor is not None),
        output=output.index,
        constants=(first.constant, second.constant),
        batches=_starts(left, right),
        rows=left.shape[-2],
        depth=left.shape[-1],
        columns=right.shape[-2],
        steps=((left.strides[-2], left.strides[-1]), (right.strides[-2], right.strides[-1])),
        zero_points=(first.zero_point, second.zero_point),
        requant=fixed_point.requant(np.array([product / output.scale]), output.zero_point, NO_CLAMP),
    )


@reads_wide("BATCH_MATMUL", limits="BATCH_MATMUL: two activations of 16 bits")
def wide_matmul(reader: Reader, raw: RawOp) -> Op:
    """BATCH_MATMUL of two 16-bit activations, whose sums have 64 bits."""
    if any(reader.tensor(raw, position).type != "INT16" for position in range(2)) or reader.output(raw).width == 1:
        raise UnsupportedOpError("operands or an output of int8 beside int16", where=raw.describe())
    op = batch_matmul(reader, raw)
    assert isinstance(op, BatchMatMul)
    if op.depth > _MOST_DEPTH:
        raise UnsupportedOpError(f"a depth of {op.depth}, at most {_MOST_DEPTH}", where=raw.describe())
    fixed_point.wide_multiplier(int(op.requant.multiplier[0]), int(op.requant.shift[0]))
    return WideMatMul(
        index=raw.index, inputs=op.inputs, output=op.output, operator=raw.name, batches=op.batches, rows=op.rows,
        depth=op.depth, columns=op.columns, steps=op.steps, requant=op.requant,
    )  # fmt: skip


@calls(WideMatMul)
def _wide_call(op: WideMatMul, _source: Tensor, _sink: Tensor) -> KernelCall:
    multiplier, shift = fixed_point.wide_multiplier(int(op.requant.multiplier[0]), int(op.requant.shift[0]))
    parameters: Parameters = {
        **product_fields(op, "tg_wide_product_t"),
        "multiplier": multiplier,
        "shift": shift,
    }
    return KernelCall("tg_wide_matmul", "tg_wide_matmul.c", parameters)


def _laid(one: Operand, *, transposed: bool) -> Int8:
    """An array of the operand's shape and strides whose memory is never touched."""
    canvas = np.empty(one.shape, dtype=np.int8)
    return canvas.swapaxes(-1, -2) if transposed else canvas


def _count(left: Int8, right: Int8) -> int:
    return int(np.prod(np.broadcast_shapes(left.shape[:-2], right.shape[:-2])))


def _starts(left: Int8, right: Int8) -> tuple[tuple[int, int], ...]:
    """Where the matrices of each product start in the operands, whose axes before the last two broadcast."""
    shape = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    places = []
    for one in (left, right):
        steps = np.broadcast_to(one[..., 0, 0], shape).strides
        places.append(strided_places(tuple(zip(shape, steps, strict=True))).ravel().tolist())
    return tuple(zip(*places, strict=True))
