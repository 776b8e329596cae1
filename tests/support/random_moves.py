"""Hypothesis draws of ops that only move data; each takes an image and returns one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tflite
from hypothesis import strategies as st

from tests.support.tflite_builder import ModelBuilder
from tests.support.tflite_tables import Table


def moved(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    """One of MOVES that the tensor's shape allows."""
    return draw(st.sampled_from(list(MOVES.values())))(draw, builder, tensor)


def _transposed(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    return builder.transpose(tensor, (0, *draw(st.permutations([1, 2, 3]))))


def _sliced(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    begin, size = [0], [1]
    for side in builder.shape(tensor):
        begin.append(draw(st.integers(0, side - 1)))
        size.append(draw(st.integers(1, side - begin[-1])))
    shape = tuple(size[1:])
    written = [
        -1 if b + s == side and draw(st.booleans()) else s
        for b, s, side in zip(begin[1:], size[1:], builder.shape(tensor), strict=True)
    ]
    return builder.slice(tensor, begin, [1, *written], shape)


def _strided(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    """A STRIDED_SLICE with steps of either sign, whose ends lie inside the tensor or are left open."""
    begins, ends, steps, shape = [0], [1], [1], []
    begin_mask = end_mask = draw(st.integers(0, 1))
    for axis, side in enumerate(builder.shape(tensor), start=1):
        step = draw(st.sampled_from([1, 1, 2, 3, -1, -2]))
        first, last = sorted((draw(st.integers(0, side - 1)), draw(st.integers(0, side - 1))))
        begin, end = (first, last + 1) if step > 0 else (last, first - 1)
        if end < 0 or draw(st.booleans()):
            end_mask |= 1 << axis
            end = draw(st.integers(-side, side))
        elif end < side and draw(st.booleans()):
            end -= side
        if draw(st.integers(0, 3)) == 0:
            begin_mask |= 1 << axis
        key = slice(None if begin_mask >> axis & 1 else begin, None if end_mask >> axis & 1 else end, step)
        begins, ends, steps = [*begins, begin], [*ends, end], [*steps, step]
        shape.append(len(range(side)[key]))
    return builder.strided_slice(tensor, begins, ends, steps, tuple(shape), BeginMask=begin_mask, EndMask=end_mask)


def _split(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    """The tensor split, and some of its parts joined in another order."""
    axis = draw(st.integers(1, 3))
    side = builder.shape(tensor)[axis - 1]
    cuts = sorted(draw(st.sets(st.integers(1, side - 1), max_size=3))) if side > 1 else []
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, side], strict=True)]
    equal = draw(st.sampled_from([count for count in (1, 2, 3, 4) if side % count == 0]))
    explicit = draw(st.booleans())
    parts = builder.split(tensor, axis, sizes if explicit else [side // equal] * equal, explicit)
    chosen = draw(st.lists(st.sampled_from(parts), min_size=1, max_size=4))
    return chosen[0] if len(chosen) == 1 else builder.concatenation(chosen, axis)


def _repacked(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    """The tensor unpacked along one axis, and some of the parts packed along another."""
    parts = builder.unpack(tensor, draw(st.integers(1, 3)))
    chosen = draw(st.lists(st.sampled_from(parts), min_size=1, max_size=4))
    return builder.pack(chosen, draw(st.integers(1, 3)))


def _blocks(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    height, width, depth = builder.shape(tensor)
    if depth % 4 == 0 and height * width <= 64 and draw(st.booleans()):
        return builder.blocks(tensor, "DEPTH_TO_SPACE", 2)
    if height % 2 == 0 and width % 2 == 0 and depth <= 16:
        return builder.blocks(tensor, "SPACE_TO_DEPTH", 2)
    return builder.blocks(tensor, "SPACE_TO_DEPTH", 1)


def resize_nearest(
    builder: ModelBuilder, source: int, size: tuple[int, int], align_corners: bool, half_pixels: bool
) -> int:
    options = Table("ResizeNearestNeighborOptions", AlignCorners=align_corners, HalfPixelCenters=half_pixels)
    output = builder.activation((*size, builder.shape(source)[2]), *builder.quant(source))
    return builder.op("RESIZE_NEAREST_NEIGHBOR", [source, builder.ints(size)], output, options)


def _resized(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    size = (draw(st.integers(1, 12)), draw(st.integers(1, 12)))
    align, half = draw(st.sampled_from([(False, False), (True, False), (False, True)]))
    return resize_nearest(builder, tensor, size, align, half)


def resize_bilinear(
    builder: ModelBuilder, source: int, size: tuple[int, int], align_corners: bool, half_pixels: bool
) -> int:
    options = Table("ResizeBilinearOptions", AlignCorners=align_corners, HalfPixelCenters=half_pixels)
    output = builder.activation((*size, builder.shape(source)[2]), *builder.quant(source))
    return builder.op("RESIZE_BILINEAR", [source, builder.ints(size)], output, options)


def _interpolated(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    size = (draw(st.integers(1, 12)), draw(st.integers(1, 12)))
    align, half = draw(st.sampled_from([(False, False), (True, False), (False, True)]))
    return resize_bilinear(builder, tensor, size, align, half)


def gather(builder: ModelBuilder, source: int, axis: int, indices: Sequence[int]) -> int:
    """GATHER; the axis counts the batch."""
    shape = list(builder.shape(source))
    shape[axis - 1] = len(indices)
    output = builder.activation(tuple(shape), *builder.quant(source))
    return builder.op("GATHER", [source, builder.ints(indices)], output, Table("GatherOptions", Axis=axis))


def _gathered(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    axis = draw(st.integers(1, 3))
    side = builder.shape(tensor)[axis - 1]
    return gather(builder, tensor, axis, draw(st.lists(st.integers(0, side - 1), min_size=1, max_size=9)))


def _repeated(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    """A slice of one row or column, repeated; and a tensor of more axes than its input."""
    _, width, depth = builder.shape(tensor)
    row = builder.slice(tensor, [0, 0, 0, 0], [1, 1, width, depth], (1, width, depth))
    flat = builder.reshape(row, (width, depth)) if draw(st.booleans()) else row
    shape = (draw(st.integers(1, 9)), width, depth)
    output = builder.activation(shape, *builder.quant(tensor))
    return builder.op("BROADCAST_TO", [flat, builder.ints([1, *shape])], output, Table("BroadcastToOptions"))


def _reversed(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    axis = builder.ints([draw(st.integers(1, 3))])
    output = builder.activation(builder.shape(tensor), *builder.quant(tensor))
    return builder.op("REVERSE_V2", [tensor, axis], output, Table("ReverseV2Options"))


def _batches(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    """Blocks of an image to the batch axis, and back again with a crop."""
    height, width, depth = builder.shape(tensor)
    block = [draw(st.sampled_from([size for size in (1, 2, 3) if side % size == 0])) for side in (height, width)]
    tiles = [side // size for side, size in zip((height, width), block, strict=True)]
    several = builder.tensor([block[0] * block[1], *tiles, depth], "INT8", *_lists(builder, tensor))
    inputs = [tensor, builder.ints(block), builder.constant(np.zeros((2, 2), dtype=np.int32))]
    builder.op("SPACE_TO_BATCH_ND", inputs, several, Table("SpaceToBatchNDOptions"))
    crops = [(draw(st.integers(0, min(1, side - 1))), 0) for side in (height, width)]
    sides = tuple(side - sum(crop) for side, crop in zip((height, width), crops, strict=True))
    output = builder.activation((*sides, depth), *builder.quant(tensor))
    inputs = [several, builder.ints(block), builder.constant(np.array(crops, dtype=np.int32))]
    return builder.op("BATCH_TO_SPACE_ND", inputs, output, Table("BatchToSpaceNDOptions"))


def _lists(builder: ModelBuilder, tensor: int) -> tuple[list[float], list[int]]:
    scale, zero_point = builder.quant(tensor)
    return [scale], [zero_point]


def _led_by_others(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    """Another axis to the front and, after an op there, the batch to the front again."""
    order = draw(st.permutations([0, 1, 2, 3]))
    spec = builder.tensors[tensor]
    turned = builder.tensor([spec.shape[axis] for axis in order], "INT8", *_lists(builder, tensor))
    builder.op("TRANSPOSE", [tensor, builder.ints(order)], turned, Table("TransposeOptions"))
    inside = builder.tensor(builder.tensors[turned].shape, "INT8", *_lists(builder, tensor))
    builder.op("RELU", [turned], inside)
    return builder.transpose(inside, [order.index(axis) for axis in range(4)])


def _padded(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    pads = [(draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(3)]
    sides = tuple(side + sum(pad) for side, pad in zip(builder.shape(tensor), pads, strict=True))
    amounts = builder.constant(np.array([(0, 0), *pads], dtype=np.int32))
    scale, zero_point = builder.quant(tensor)
    value = builder.constant(np.array([draw(st.integers(-128, 127))], dtype=np.int8), [scale], zero_point=zero_point)
    output = builder.activation(sides, scale, zero_point)
    return builder.op("PADV2", [tensor, amounts, value], output, Table("PadV2Options"))


def mirror_pad(builder: ModelBuilder, source: int, pads: list[tuple[int, int]], mode: str) -> int:
    """A MIRROR_PAD, REFLECT or SYMMETRIC."""
    amounts = builder.constant(np.array([(0, 0), *pads], dtype=np.int32))
    sides = tuple(side + sum(pad) for side, pad in zip(builder.shape(source), pads, strict=True))
    options = Table("MirrorPadOptions", Mode=getattr(tflite.MirrorPadMode, mode))
    return builder.op("MIRROR_PAD", [source, amounts], builder.activation(sides, *builder.quant(source)), options)


def _mirrored(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    mode = draw(st.sampled_from(["REFLECT", "SYMMETRIC"]))
    most = [min(3, side - (mode == "REFLECT")) for side in builder.shape(tensor)]
    return mirror_pad(builder, tensor, [(draw(st.integers(0, m)), draw(st.integers(0, m))) for m in most], mode)


MOVES = {
    "TRANSPOSE": _transposed,
    "SLICE": _sliced,
    "STRIDED_SLICE": _strided,
    "SPLIT": _split,
    "PACK": _repacked,
    "DEPTH_TO_SPACE": _blocks,
    "RESIZE_NEAREST_NEIGHBOR": _resized,
    "MIRROR_PAD": _mirrored,
    "RESIZE_BILINEAR": _interpolated,
    "GATHER": _gathered,
    "BROADCAST_TO": _repeated,
    "REVERSE_V2": _reversed,
    "SPACE_TO_BATCH_ND": _batches,
    "PADV2": _padded,
    "other leading axes": _led_by_others,
}


def computed_size(builder: ModelBuilder, source: int, factor: int) -> int:
    """The height and width of a tensor times a factor, as a converter writes a resize to twice the size."""
    shape = builder.tensor([4], "INT32")
    builder.op("SHAPE", [source], shape, Table("ShapeOptions", OutType=tflite.TensorType.INT32))
    sides = builder.tensor([2], "INT32")
    bounds = [builder.ints([1]), builder.ints([3]), builder.ints([1])]
    builder.op("STRIDED_SLICE", [shape, *bounds], sides, Table("StridedSliceOptions"))
    size = builder.tensor([2], "INT32")
    return builder.op("MUL", [sides, builder.ints([factor])], size, Table("MulOptions"))
