"""Readers of ops that join tensors: CONCATENATION along an axis, PACK along a new one."""

from __future__ import annotations

import math

import tflite

from tritguard.errors import BadModelError
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import Concatenation, Op, Tensor
from tritguard.graph.reading.checks import NO_CLAMP, NO_WIDE_CLAMP, axis_of, fused_clamp, options_of, same_scale
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import reads


@reads("CONCATENATION", device="copies of rows", limits="one scale", any_width=True)
def concatenation(reader: Reader, raw: RawOp) -> Op:
    """CONCATENATION; TFLM only moves bytes, so all tensors must have the same scale."""
    sources, output = _operands(reader, raw)
    options = options_of(raw, tflite.ConcatenationOptions)
    if fused_clamp(raw, options, output) not in (NO_CLAMP, NO_WIDE_CLAMP):
        raise BadModelError("a fused activation, which TensorFlow Lite refuses too", where=raw.describe())
    dims = output.dims
    axis = axis_of(raw, options.Axis(), len(dims))
    for source in sources:
        expected = (*dims[:axis], *source.dims[axis : axis + 1], *dims[axis + 1 :])
        if source.dims != expected:
            raise BadModelError(f"{list(source.dims)} into {list(dims)}", where=raw.describe())
    if sum(source.dims[axis] for source in sources) != dims[axis]:
        raise BadModelError(f"parts do not add up to {list(dims)}", where=raw.describe())
    return _joined(raw, sources, output, axis)


@reads("PACK", device="copies of rows", any_width=True)
def pack(reader: Reader, raw: RawOp) -> Op:
    """PACK."""
    sources, output = _operands(reader, raw)
    dims = output.dims
    axis = axis_of(raw, options_of(raw, tflite.PackOptions).Axis(), len(dims))
    for source in sources:
        if source.dims != ((*dims[:axis], *dims[axis + 1 :]) or (1,)):
            raise BadModelError(f"{list(source.dims)} into {list(dims)}", where=raw.describe())
    if len(sources) != dims[axis]:
        raise BadModelError(f"{len(sources)} inputs into {list(dims)}", where=raw.describe())
    return _joined(raw, sources, output, axis)


def _operands(reader: Reader, raw: RawOp) -> tuple[list[Tensor], Tensor]:
    output = reader.output(raw)
    sources = [reader.activation(index, raw.describe()) for index in raw.inputs]
    if not sources:
        raise BadModelError("no inputs", where=raw.describe())
    for source in sources:
        same_scale(source, output, raw)
    return sources, output


def _joined(raw: RawOp, sources: list[Tensor], output: Tensor, axis: int) -> Op:
    rows = math.prod(output.dims[:axis])
    return Concatenation(
        index=raw.index,
        inputs=tuple(source.index for source in sources),
        output=output.index,
        operator=raw.name,
        rows=rows,
        widths=tuple(source.size // rows for source in sources),
    )
