"""Readers of reductions over height and width."""

from __future__ import annotations

import numpy as np
import tflite

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.arithmetic import fixed_point
from tritguard.graph.call import KernelCall, Parameters, calls, scale_fields, window_fields
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import Mean, Op, Pool2D, Requant, Tensor
from tritguard.graph.reading.checks import fused_clamp, image, options_of, same_scale, window
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import reads


@reads("AVERAGE_POOL_2D", "MAX_POOL_2D")
def pool(reader: Reader, raw: RawOp) -> Op:
    """AVERAGE_POOL_2D and MAX_POOL_2D."""
    source, output = reader.in_out(raw)
    height, width, depth = image(source, raw)
    out_shape = image(output, raw)
    options = options_of(raw, tflite.Pool2DOptions)
    if out_shape[2] != depth:
        raise BadModelError(f"{depth} channels in, {out_shape[2]} out", where=raw.describe())
    same_scale(source, output, raw)
    kernel = (options.FilterHeight(), options.FilterWidth())
    low, high = fused_clamp(raw, options, output)
    return Pool2D(
        index=raw.index,
        inputs=(source.index,),
        output=output.index,
        mode="average" if raw.name == "AVERAGE_POOL_2D" else "max",
        window=window(raw, options, kernel, (1, 1), (height, width), out_shape[:2]),
        out_shape=out_shape,
        act_min=low,
        act_max=high,
    )


@reads("MEAN")
def mean(reader: Reader, raw: RawOp) -> Op:
    """MEAN over height and width."""
    source, output = reader.in_out(raw)
    height, width, depth = image(source, raw)
    axes = reader.constant(raw, 1, "INT32").data
    assert axes is not None
    if sorted(int(axis) % 4 if -4 <= axis < 4 else axis for axis in axes.ravel()) != [1, 2]:
        raise UnsupportedOpError(f"axes {axes.ravel().tolist()}, height and width are supported", where=raw.describe())
    if output.size != depth:
        raise BadModelError(f"output {list(output.shape)} for {depth} channels", where=raw.describe())
    multiplier, shift = fixed_point.mean_multiplier(source.scale / output.scale, height * width)
    return Mean(
        index=raw.index,
        inputs=(source.index,),
        output=output.index,
        positions=height * width,
        input_zero_point=source.zero_point,
        requant=Requant(
            np.array([multiplier], dtype=np.int32),
            np.array([shift], dtype=np.int32),
            output.zero_point,
            fixed_point.INT8_MIN,
            fixed_point.INT8_MAX,
        ),
    )


@calls(Pool2D)
def _pool_call(op: Pool2D, source: Tensor, _sink: Tensor) -> KernelCall:
    height, width, channels = source.shape
    parameters: Parameters = {
        "window": window_fields(op.window, (height, width, channels), op.out_shape),
        "act_min": op.act_min,
        "act_max": op.act_max,
    }
    return KernelCall(f"tg_{op.mode}_pool", "tg_pool.c", parameters, struct="tg_pool_t")


@calls(Mean)
def _mean_call(op: Mean, _source: Tensor, sink: Tensor) -> KernelCall:
    parameters: Parameters = {
        "positions": op.positions,
        "channels": sink.size,
        "in_zero_point": op.input_zero_point,
        "scale": scale_fields(op.requant),
        "out_zero_point": op.requant.zero_point,
    }
    return KernelCall("tg_mean", "tg_elementwise.c", parameters)
