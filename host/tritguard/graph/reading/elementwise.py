"""Readers of sums and rescalings, element by element."""

from __future__ import annotations

import numpy as np
import tflite

from tritguard.errors import BadModelError
from tritguard.graph.arithmetic import fixed_point
from tritguard.graph.call import KernelCall, Parameters, calls, scale_fields
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import Add, Op, Quantize, Tensor
from tritguard.graph.reading.binary import PAIRWISE, binary, sum_factors
from tritguard.graph.reading.checks import NO_CLAMP, fused_clamp, options_of
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import reads


@reads("ADD", device=PAIRWISE)
def add(reader: Reader, raw: RawOp) -> Op:
    """ADD of two activations of one shape; any other is a `Binary`."""
    operands = [reader.tensor(raw, position) for position in range(2)]
    if operands[0].shape != operands[1].shape or any(operand.data is not None for operand in operands):
        return binary(reader, raw)
    first, output = reader.in_out(raw)
    second = reader.activation(operands[1].index, raw.describe())
    if first.shape != output.shape:
        raise BadModelError(f"{list(first.shape)} into {list(output.shape)}", where=raw.describe())
    clamp = fused_clamp(raw, options_of(raw, tflite.AddOptions), output)
    rescalings, factor = sum_factors(raw, (first.scale, second.scale), output.scale, Add.left_shift)
    return Add(
        index=raw.index,
        inputs=(first.index, second.index),
        output=output.index,
        input_zero_points=(first.zero_point, second.zero_point),
        input_requants=rescalings,
        requant=fixed_point.requant(np.array([factor]), output.zero_point, clamp),
    )


@reads("QUANTIZE", device="a rescaling", limits="int8 to int8, or at an edge")
def quantize(reader: Reader, raw: RawOp) -> Op:
    """QUANTIZE from int8 to int8."""
    source, output = reader.in_out(raw)
    if source.shape != output.shape:
        raise BadModelError(f"{list(source.shape)} into {list(output.shape)}", where=raw.describe())
    return Quantize(
        index=raw.index,
        inputs=(source.index,),
        output=output.index,
        input_zero_point=source.zero_point,
        requant=fixed_point.requant(np.array([source.scale / output.scale]), output.zero_point, NO_CLAMP),
    )


@calls(Quantize)
def _quantize_call(op: Quantize, _source: Tensor, sink: Tensor) -> KernelCall:
    parameters: Parameters = {
        "size": sink.size,
        "in_zero_point": op.input_zero_point,
        "scale": scale_fields(op.requant),
        "out_zero_point": op.requant.zero_point,
    }
    return KernelCall("tg_requantize", "tg_elementwise.c", parameters)
