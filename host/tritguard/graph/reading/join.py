"""Readers of ops that join tensors: CONCATENATION along an axis, PACK along a new one."""

from __future__ import annotations

import math

import tflite

from tritguard.errors import BadModelError
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import Concatenation, Op, Tensor
from tritguard.graph.reading.checks import NO_CLAMP, axis_of, fused_clamp, options_of, same_scale
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import reads


@reads("CONCATENATION")
def concatenation(reader: Reader, raw: RawOp) -> Op:
    """CONCATENATION; TFLM only moves bytes, so all tensors must have the same scale."""
    sources, output = _operands(reader, raw)
    options = options_of(raw, tflite.ConcatenationOptions)
    if fused_clamp(raw, options, output) != NO_CLAMP:
        raise BadModelError("a fused activation, which TensorFlow Lite refuses too", where=raw.describe())
    axis = axis_of(raw, options.Axis(), len(output.shape) + 1) - 1
    for source in sources:
        expected = (*output.shape[:axis], *source.shape[axis : axis + 1], *output.shape[axis + 1 :])
        if axis < 0 or source.shape != expected:
            raise BadModelError(f"{list(source.shape)} into {list(output.shape)}", where=raw.describe())
    if sum(source.shape[axis] for source in sources) != output.shape[axis]:
        raise BadModelError(f"parts do not add up to {list(output.shape)}", where=raw.describe())
    return _joined(raw, sources, output, axis)


@reads("PACK")
def pack(reader: Reader, raw: RawOp) -> Op:
    """PACK."""
    sources, output = _operands(reader, raw)
    axis = axis_of(raw, options_of(raw, tflite.PackOptions).Axis(), len(output.shape) + 1) - 1
    for source in sources:
        if axis < 0 or source.shape != ((*output.shape[:axis], *output.shape[axis + 1 :]) or (1,)):
            raise BadModelError(f"{list(source.shape)} into {list(output.shape)}", where=raw.describe())
    if len(sources) != output.shape[axis]:
        raise BadModelError(f"{len(sources)} inputs into {list(output.shape)}", where=raw.describe())
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
    rows = math.prod(output.shape[:axis])
    return Concatenation(
        index=raw.index,
        inputs=tuple(source.index for source in sources),
        output=output.index,
        operator=raw.name,
        rows=rows,
        widths=tuple(source.size // rows for source in sources),
    )
