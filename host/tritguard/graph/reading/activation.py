"""Activations that are layers of their own."""

from __future__ import annotations

import tflite

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph import fixed_point
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import Op, Softmax
from tritguard.graph.reading.checks import options_of
from tritguard.graph.reading.reader import Reader

_SOFTMAX_DEPTH = 4095  # the sum of exponentials has 12 integer bits


def softmax(reader: Reader, raw: RawOp) -> Op:
    """SOFTMAX over the last axis."""
    source, output = reader.in_out(raw)
    if source.shape != output.shape or not source.shape:
        raise BadModelError(f"{list(source.shape)} into {list(output.shape)}", where=raw.describe())
    if source.shape[-1] > _SOFTMAX_DEPTH:
        raise UnsupportedOpError(f"softmax over {source.shape[-1]}, at most {_SOFTMAX_DEPTH}", where=raw.describe())
    if output.scale != 1 / 256 or output.zero_point != fixed_point.INT8_MIN:
        raise BadModelError("output scale is not 1/256 with zero point -128", where=raw.describe())
    beta = float(options_of(raw, tflite.SoftmaxOptions).Beta())
    multiplier, shift, diff_min = fixed_point.softmax_parameters(beta, source.scale)
    return Softmax(
        index=raw.index,
        inputs=(source.index,),
        output=output.index,
        rows=source.size // source.shape[-1],
        beta=beta,
        multiplier=multiplier,
        left_shift=shift,
        diff_min=diff_min,
    )
