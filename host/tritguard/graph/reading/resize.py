"""The reader of ops that change an image's size."""

from __future__ import annotations

import numpy as np
import tflite

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.arithmetic.gemmlowp import truncating_divide
from tritguard.graph.call import Constant, KernelCall, Parameters, calls
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import RESIZE_ONE, Op, ResizeBilinear, ResizeNearest, Tensor
from tritguard.graph.reading.checks import image, options_of, same_scale
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import reads

_BETWEEN = np.dtype([("low", "i2"), ("high", "i2"), ("weight", "i2")])


def _sides(reader: Reader, raw: RawOp) -> tuple[Tensor, Tensor, tuple[int, int], tuple[int, int]]:
    """Read what both ops have: input, output, and height and width of each.

    Raises:
        BadModelError: the size asked for is not the output's.
        UnsupportedOpError: the scales differ, or a tensor is no image.
    """
    source, output = reader.in_out(raw)
    same_scale(source, output, raw)
    height, width, depth = image(source, raw)
    size = reader.integers(raw, 1)
    if len(size) != 2 or image(output, raw) != (*size, depth):
        raise BadModelError(f"size {size} into {list(output.shape)}", where=raw.describe())
    return source, output, (height, width), (size[0], size[1])


@reads("RESIZE_NEAREST_NEIGHBOR", device="tables of rows and columns", any_width=True)
def resize_nearest(reader: Reader, raw: RawOp) -> Op:
    """RESIZE_NEAREST_NEIGHBOR."""
    source, output, (height, width), size = _sides(reader, raw)
    options = options_of(raw, tflite.ResizeNearestNeighborOptions)
    modes = (bool(options.AlignCorners()), bool(options.HalfPixelCenters()))
    return ResizeNearest(
        index=raw.index,
        inputs=(source.index,),
        output=output.index,
        rows=_nearest(height, size[0], *modes),
        columns=_nearest(width, size[1], *modes),
    )


@reads("RESIZE_BILINEAR", device="tables of rows and columns")
def resize_bilinear(reader: Reader, raw: RawOp) -> Op:
    """RESIZE_BILINEAR; TFLM computes it in integers and ignores both scales."""
    source, output, (height, width), size = _sides(reader, raw)
    options = options_of(raw, tflite.ResizeBilinearOptions)
    modes = (bool(options.AlignCorners()), bool(options.HalfPixelCenters()))
    if all(modes):
        raise BadModelError("aligned corners and half pixel centers at once", where=raw.describe())
    rows, columns = (_between(*sides, *modes) for sides in ((height, size[0]), (width, size[1])))
    if any(low >= side for side, axis in ((height, rows), (width, columns)) for low, _, _ in axis):
        raise UnsupportedOpError("TensorFlow Lite Micro reads beyond the image at this size", where=raw.describe())
    return ResizeBilinear(index=raw.index, inputs=(source.index,), output=output.index, rows=rows, columns=columns)


def _between(size: int, out: int, align_corners: bool, half_pixel_centers: bool) -> tuple[tuple[int, int, int], ...]:
    """For each output coordinate the two input coordinates, and the second one's weight in 1024ths.

    The integers of `ComputeInterpolationValuesInteger`, whose divisions round towards zero.
    """
    corners = align_corners and out > 1
    inside, outside = (size - 1, out - 1) if corners else (size, out)
    scale = (RESIZE_ONE * inside + outside // 2) // outside
    offset = scale // 2 - RESIZE_ONE // 2 if half_pixel_centers else 0
    found = []
    for at in (value * scale + offset for value in range(out)):
        low = max(0, truncating_divide(at, RESIZE_ONE))
        high = min(size - 1, truncating_divide(at + RESIZE_ONE - 1, RESIZE_ONE))
        found.append((low, high, at - RESIZE_ONE * low))
    return tuple(found)


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
        "channels": channels * source.width,
        "rows": np.array(op.rows, dtype=np.uint16),
        "columns": np.array(op.columns, dtype=np.uint16),
    }
    return KernelCall("tg_resize_nearest", "tg_resize.c", parameters)


@calls(ResizeBilinear)
def _bilinear_call(op: ResizeBilinear, source: Tensor, _sink: Tensor) -> KernelCall:
    _, in_w, channels = source.shape
    parameters: Parameters = {
        "in_w": in_w,
        "out_h": len(op.rows),
        "out_w": len(op.columns),
        "channels": channels,
        "rows": Constant(np.array(list(op.rows), dtype=_BETWEEN), "tg_between_t"),
        "columns": Constant(np.array(list(op.columns), dtype=_BETWEEN), "tg_between_t"),
    }
    return KernelCall("tg_resize_bilinear", "tg_resize_bilinear.c", parameters)
