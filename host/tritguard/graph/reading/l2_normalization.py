"""L2_NORMALIZATION: rows divided by their lengths, the end of many networks that embed faces or speakers."""

from __future__ import annotations

import tflite

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.call import KernelCall, calls
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import L2Normalization, Op, Tensor
from tritguard.graph.reading.checks import FUSED_ACTIVATIONS, options_of
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import reads

_DEPTH = ((1 << 31) - 1) // 255**2  # so that the sum of squares fits 31 bits
_MOST_AXES = 4


@reads(
    "L2_NORMALIZATION",
    device="a sum of squares and gemmlowp's inverse root for each row",
    limits="L2_NORMALIZATION: over at most 33,025; output 1/128 and 0",
)
def l2_normalization(reader: Reader, raw: RawOp) -> Op:
    """L2_NORMALIZATION over the last axis."""
    source, output = reader.in_out(raw)
    if source.dims != output.dims or len(source.dims) > _MOST_AXES:
        raise BadModelError(f"{list(source.dims)} into {list(output.dims)}", where=raw.describe())
    if source.shape[-1] > _DEPTH:
        raise UnsupportedOpError(f"a length of {source.shape[-1]}, at most {_DEPTH}", where=raw.describe())
    if (output.scale, output.zero_point) != (1 / 128, 0):
        raise UnsupportedOpError("output scale is not 1/128 with zero point 0", where=raw.describe())
    fused = options_of(raw, tflite.L2NormOptions).FusedActivationFunction()
    if FUSED_ACTIVATIONS.get(fused) != "NONE":
        raise BadModelError(f"fused activation {fused}, TensorFlow Lite Micro takes none", where=raw.describe())
    return L2Normalization(
        index=raw.index,
        inputs=(source.index,),
        output=output.index,
        rows=source.size // source.shape[-1],
        input_zero_point=source.zero_point,
    )


@calls(L2Normalization)
def _call(op: L2Normalization, _source: Tensor, sink: Tensor) -> KernelCall:
    parameters = {"rows": op.rows, "depth": sink.size // op.rows, "zero_point": op.input_zero_point}
    return KernelCall("tg_l2_normalization", "tg_l2_normalization.c", parameters)
