"""The reader of ops that change an image's size."""

from __future__ import annotations

import numpy as np
import tflite

from tritguard.errors import BadModelError
from tritguard.graph.call import KernelCall, Parameters, calls
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import Op, ResizeNearest, Tensor
from tritguard.graph.reading.checks import image, options_of, same_scale
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import reads


@reads("RESIZE_NEAREST_NEIGHBOR")
def resize_nearest(reader: Reader, raw: RawOp) -> Op:
    """RESIZE_NEAREST_NEIGHBOR."""
    source, output = reader.in_out(raw)
    same_scale(source, output, raw)
    height, width, depth = image(source, raw)
    options = options_of(raw, tflite.ResizeNearestNeighborOptions)
    size = reader.integers(raw, 1)
    if len(size) != 2 or image(output, raw) != (*size, depth):
        raise BadModelError(f"size {size} into {list(output.shape)}", where=raw.describe())
    modes = (bool(options.AlignCorners()), bool(options.HalfPixelCenters()))
    return ResizeNearest(
        index=raw.index,
        inputs=(source.index,),
        output=output.index,
        rows=_nearest(height, size[0], *modes),
        columns=_nearest(width, size[1], *modes),
    )


def _nearest(size: int, out: int, align_corners: bool, half_pixel_centers: bool) -> tuple[int, ...]:
    """The input coordinate of each output coordinate, in float32 as `GetNearestNeighbor` computes it."""
    corners = align_corners and out > 1
    scale = np.float32(size - 1) / np.float32(out - 1) if corners else np.float32(size) / np.float32(out)
    at = (np.arange(out, dtype=np.float32) + np.float32(0.5 if half_pixel_centers else 0)) * scale
    nearest = np.floor(at + np.float32(0.5)) if align_corners else np.floor(at)
    return tuple(int(i) for i in np.clip(nearest, 0, size - 1))


@calls(ResizeNearest)
def _call(op: ResizeNearest, source: Tensor, _sink: Tensor) -> KernelCall:
    _, in_w, channels = source.shape
    parameters: Parameters = {
        "in_w": in_w,
        "out_h": len(op.rows),
        "out_w": len(op.columns),
        "channels": channels,
        "rows": np.array(op.rows, dtype=np.uint16),
        "columns": np.array(op.columns, dtype=np.uint16),
    }
    return KernelCall("tg_resize_nearest", "tg_resize.c", parameters)
