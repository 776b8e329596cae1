"""Reductions over height and width."""

from __future__ import annotations

import numpy as np
import tflite

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph import fixed_point
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import Mean, Op, Pool2D, Requant
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
