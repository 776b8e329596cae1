"""The reader of pools over height and width."""

from __future__ import annotations

import tflite

from tritguard.errors import BadModelError
from tritguard.graph.call import KernelCall, Parameters, calls, window_fields
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import Op, Pool2D, Tensor
from tritguard.graph.reading.checks import fused_clamp, image, options_of, same_scale, window
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import reads


@reads("AVERAGE_POOL_2D", "MAX_POOL_2D", device="windows over an image")
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


@calls(Pool2D)
def _pool_call(op: Pool2D, source: Tensor, _sink: Tensor) -> KernelCall:
    height, width, channels = source.shape
    parameters: Parameters = {
        "window": window_fields(op.window, (height, width, channels), op.out_shape),
        "act_min": op.act_min,
        "act_max": op.act_max,
    }
    return KernelCall(f"tg_{op.mode}_pool", "tg_pool.c", parameters, struct="tg_pool_t")
