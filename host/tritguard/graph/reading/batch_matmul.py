"""The reader of products of matrices."""

from __future__ import annotations

import numpy as np
import tflite

from tritguard.errors import BadModelError
from tritguard.graph.arithmetic import fixed_point
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import BatchMatMul, Int8, Op, strided_places
from tritguard.graph.reading.checks import NO_CLAMP, options_of
from tritguard.graph.reading.operand import Operand, operand
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import reads


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
