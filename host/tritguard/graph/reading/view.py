"""Readers of ops that give the bytes of their input in another order: slices, transpositions, splits.

Each op is applied once to a NumPy array of the input's shape; the strides of the resulting view describe the op.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tflite

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.call import KernelCall, Parameters, calls, filled
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import Int8, Op, Tensor, View
from tritguard.graph.reading.checks import axis_of, image, options_of, same_scale
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import reads

_MOST_AXES = 5  # axes that the kernel walks over
_COPY = "one strided copy"


def _canvas(source: Tensor) -> Int8:
    """An array of the input's shape in the file, whose memory is never touched."""
    return np.empty(source.dims, dtype=np.int8)


def _view(raw: RawOp, source: Tensor, output: Tensor, canvas: Int8, seen: Int8, part: int = 0) -> Op:
    """The op that gives the elements of `canvas` that `seen`, a view of it, shows."""
    same_scale(source, output, raw)
    if seen.size != output.size:
        raise BadModelError(f"output {list(output.dims)} where {list(seen.shape)} follows", where=raw.describe())
    offset = seen.__array_interface__["data"][0] - canvas.__array_interface__["data"][0]
    sizes, steps = _merged(seen)
    axes = len(_in_bytes(sizes, steps, source.width)[0])
    if axes > _MOST_AXES:
        raise UnsupportedOpError(f"{axes} axes, at most {_MOST_AXES} are supported", where=raw.describe())
    return View(
        index=raw.index, inputs=(source.index,), output=output.index, part=part,
        operator=raw.name, offset=offset, sizes=sizes, steps=steps,
    )  # fmt: skip


def _merged(seen: Int8) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sizes and steps without axes of one element, and with neighbouring axes joined where they form one run."""
    axes: list[tuple[int, int]] = []
    for size, step in zip(seen.shape, seen.strides, strict=True):
        if size == 1:
            continue
        if axes and axes[-1][1] == size * step:
            axes[-1] = (axes[-1][0] * size, step)
        else:
            axes.append((size, step))
    return tuple(size for size, _ in axes), tuple(step for _, step in axes)


def _in_bytes(sizes: tuple[int, ...], steps: tuple[int, ...], width: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sizes and steps over the bytes of elements of this width."""
    if width == 1:
        return sizes, steps
    if sizes and steps[-1] == 1:
        return (*sizes[:-1], sizes[-1] * width), (*(step * width for step in steps[:-1]), 1)
    return (*sizes, width), (*(step * width for step in steps), 1)


@reads("TRANSPOSE", device=_COPY, limits="at most five axes after joining", any_width=True)
def transpose(reader: Reader, raw: RawOp) -> Op:
    """TRANSPOSE."""
    source, output = reader.in_out(raw)
    order = reader.integers(raw, 1)
    canvas = _canvas(source)
    if sorted(order) != list(range(canvas.ndim)):
        raise BadModelError(f"permutation {order} of {canvas.ndim} axes", where=raw.describe())
    return _view(raw, source, output, canvas, canvas.transpose(order))


@reads("SLICE", device=_COPY, any_width=True)
def slice_(reader: Reader, raw: RawOp) -> Op:
    """SLICE."""
    source, output = reader.in_out(raw)
    canvas = _canvas(source)
    keys = slice_keys(raw, canvas.shape, reader.integers(raw, 1), reader.integers(raw, 2))
    return _view(raw, source, output, canvas, canvas[keys])


def slice_keys(raw: RawOp, sides: tuple[int, ...], begin: list[int], size: list[int]) -> tuple[slice, ...]:
    """A SLICE's slice of each axis of these sides; a size of -1 reaches to the end."""
    if not len(begin) == len(size) == len(sides):
        raise BadModelError(f"begin {begin}, size {size} for {len(sides)} axes", where=raw.describe())
    ends = [side if s == -1 else b + s for b, s, side in zip(begin, size, sides, strict=True)]
    if any(not 0 <= b <= e <= side for b, e, side in zip(begin, ends, sides, strict=True)):
        raise BadModelError(f"begin {begin}, size {size} of {list(sides)}", where=raw.describe())
    return tuple(slice(b, e) for b, e in zip(begin, ends, strict=True))


@reads("BROADCAST_TO", device=_COPY, any_width=True)
def broadcast_to(reader: Reader, raw: RawOp) -> Op:
    """BROADCAST_TO; the shape stored in the file counts."""
    source, output = reader.in_out(raw)
    canvas = _canvas(source)
    try:
        seen = np.broadcast_to(canvas, output.dims)
    except ValueError as error:
        raise BadModelError(f"{list(source.dims)} into {list(output.dims)}", where=raw.describe()) from error
    return _view(raw, source, output, canvas, seen)


@reads("REVERSE_V2", device=_COPY, any_width=True)
def reverse(reader: Reader, raw: RawOp) -> Op:
    """REVERSE_V2."""
    source, output = reader.in_out(raw)
    canvas = _canvas(source)
    axes = tuple(axis_of(raw, axis, canvas.ndim) for axis in reader.integers(raw, 1))
    return _view(raw, source, output, canvas, np.flip(canvas, axes))


@reads("STRIDED_SLICE", device=_COPY, limits="STRIDED_SLICE: no ellipsis, no new axes", any_width=True)
def strided_slice(reader: Reader, raw: RawOp) -> Op:
    """STRIDED_SLICE, with masks for begin, end and axes that vanish."""
    source, output = reader.in_out(raw)
    canvas = _canvas(source)
    keys = strided_keys(raw, *(reader.integers(raw, position) for position in (1, 2, 3)))
    if len(keys) > canvas.ndim:
        raise BadModelError(f"{len(keys)} slices of {canvas.ndim} axes", where=raw.describe())
    return _view(raw, source, output, canvas, canvas[tuple(keys)])


def strided_keys(raw: RawOp, begin: list[int], end: list[int], steps: list[int]) -> list[slice]:
    """A STRIDED_SLICE's slice of each axis; an axis that vanishes has a slice of one element."""
    options = options_of(raw, tflite.StridedSliceOptions)
    if not len(begin) == len(end) == len(steps) or 0 in steps:
        raise BadModelError(f"begin {begin}, end {end}, steps {steps}", where=raw.describe())
    if options.EllipsisMask() or options.NewAxisMask() or options.Offset():
        raise UnsupportedOpError("an ellipsis, a new axis or ends as offsets", where=raw.describe())
    keys = []
    for axis, (first, last, step) in enumerate(zip(begin, end, steps, strict=True)):
        open_begin, open_end = options.BeginMask() >> axis & 1, options.EndMask() >> axis & 1
        if options.ShrinkAxisMask() >> axis & 1:
            if step < 0:  # TFLM then reads beside the element
                raise BadModelError(f"an axis that vanishes in steps of {step}", where=raw.describe())
            keys.append(slice(0, 1) if open_begin else slice(first, first + 1 or None))
        else:
            keys.append(slice(None if open_begin else first, None if open_end else last, step))
    return keys


@reads("SPLIT", "SPLIT_V", device=_COPY, any_width=True)
def split(reader: Reader, raw: RawOp) -> tuple[Op, ...]:
    """SPLIT into equal parts and SPLIT_V into parts of given sizes."""
    position, axis_position = (0, 2) if raw.name == "SPLIT_V" else (1, 0)
    source = reader.activation(reader.tensor(raw, position).index, raw.describe())
    canvas = _canvas(source)
    axis = axis_of(raw, reader.integers(raw, axis_position)[0], canvas.ndim)
    count, side = len(raw.outputs), canvas.shape[axis]
    sizes = reader.integers(raw, 1) if raw.name == "SPLIT_V" else [side // max(count, 1)] * count
    if -1 in sizes:
        sizes[sizes.index(-1)] = side - sum(sizes) - 1
    if len(sizes) != count or sum(sizes) != side or min(sizes, default=0) < 1:
        raise BadModelError(f"{side} split into {sizes}", where=raw.describe())
    pieces = np.split(canvas, np.cumsum(sizes)[:-1], axis=axis)
    return _parts(reader, raw, source, canvas, pieces)


@reads("UNPACK", device=_COPY, any_width=True)
def unpack(reader: Reader, raw: RawOp) -> tuple[Op, ...]:
    """UNPACK along an axis."""
    source = reader.activation(reader.tensor(raw, 0).index, raw.describe())
    canvas = _canvas(source)
    axis = axis_of(raw, options_of(raw, tflite.UnpackOptions).Axis(), canvas.ndim)
    if len(raw.outputs) != canvas.shape[axis]:
        raise BadModelError(f"{canvas.shape[axis]} into {len(raw.outputs)} outputs", where=raw.describe())
    return _parts(reader, raw, source, canvas, np.split(canvas, len(raw.outputs), axis=axis))


def _parts(reader: Reader, raw: RawOp, source: Tensor, canvas: Int8, pieces: list[Any]) -> tuple[Op, ...]:
    outputs = [reader.activation(index, raw.describe()) for index in raw.outputs]
    return tuple(
        _view(raw, source, output, canvas, piece, part)
        for part, (output, piece) in enumerate(zip(outputs, pieces, strict=True))
    )


@reads("DEPTH_TO_SPACE", device=_COPY)
def depth_to_space(reader: Reader, raw: RawOp) -> Op:
    """DEPTH_TO_SPACE."""
    source, output = reader.in_out(raw)
    height, width, depth = image(source, raw)
    block = options_of(raw, tflite.DepthToSpaceOptions).BlockSize()
    if block < 1 or depth % (block * block):
        raise BadModelError(f"{depth} channels in blocks of {block} x {block}", where=raw.describe())
    canvas = _canvas(source)
    blocks = canvas.reshape(height, width, block, block, depth // (block * block)).transpose(0, 2, 1, 3, 4)
    _check_shape(raw, output, (height * block, width * block, depth // (block * block)))
    return _view(raw, source, output, canvas, blocks)


@reads("SPACE_TO_DEPTH", device=_COPY)
def space_to_depth(reader: Reader, raw: RawOp) -> Op:
    """SPACE_TO_DEPTH."""
    source, output = reader.in_out(raw)
    height, width, depth = image(source, raw)
    block = options_of(raw, tflite.SpaceToDepthOptions).BlockSize()
    if block < 1 or height % block or width % block:
        raise BadModelError(f"{height} x {width} in blocks of {block} x {block}", where=raw.describe())
    canvas = _canvas(source)
    blocks = canvas.reshape(height // block, block, width // block, block, depth).transpose(0, 2, 1, 3, 4)
    _check_shape(raw, output, (height // block, width // block, depth * block * block))
    return _view(raw, source, output, canvas, blocks)


@reads("SPACE_TO_BATCH_ND", device=_COPY, limits="SPACE_TO_BATCH_ND: no padding, as TFLM sets no value")
def space_to_batch(reader: Reader, raw: RawOp) -> Op:
    """SPACE_TO_BATCH_ND, which moves blocks of the spatial axes to the front."""
    source, output = reader.in_out(raw)
    block, pads = _blocks(reader, raw, source)
    if any(before or after for before, after in pads):
        raise UnsupportedOpError("padding, for which TensorFlow Lite Micro never sets a value", where=raw.describe())
    canvas = _canvas(source)
    batch, *sides, depth = source.dims
    if any(side % size for side, size in zip(sides, block, strict=True)):
        raise BadModelError(f"{sides} in blocks of {block}", where=raw.describe())
    split = [part for side, size in zip(sides, block, strict=True) for part in (side // size, size)]
    spatial = range(1, len(split) + 1)
    seen = canvas.reshape(batch, *split, depth).transpose(*spatial[1::2], 0, *spatial[::2], len(split) + 1)
    return _view(raw, source, output, canvas, seen)


@reads("BATCH_TO_SPACE_ND", device=_COPY, limits="BATCH_TO_SPACE_ND: two copies if it crops")
def batch_to_space(reader: Reader, raw: RawOp) -> tuple[Op, ...]:
    """BATCH_TO_SPACE_ND, which moves blocks from the front to the spatial axes, and then may crop these."""
    source, output = reader.in_out(raw)
    block, crops = _blocks(reader, raw, source)
    canvas = _canvas(source)
    batch, *sides, depth = source.dims
    if batch % math.prod(block):
        raise BadModelError(f"{batch} images in blocks of {block}", where=raw.describe())
    count = len(block)
    order = [count, *(axis for each in range(count) for axis in (count + 1 + each, each)), 2 * count + 1]
    seen = canvas.reshape(*block, batch // math.prod(block), *sides, depth).transpose(order)
    if not any(before or after for before, after in crops):
        return (_view(raw, source, output, canvas, seen),)
    whole = (batch // math.prod(block), *(side * size for side, size in zip(sides, block, strict=True)), depth)
    if any(before + after >= side for (before, after), side in zip(crops, whole[1:-1], strict=True)):
        raise BadModelError(f"crops {crops} of {list(whole)}", where=raw.describe())
    joined = reader.between(source, whole)
    all_of = _canvas(joined)
    cut = tuple(slice(before, side - after) for (before, after), side in zip(crops, whole[1:-1], strict=True))
    return (
        _view(raw, source, joined, canvas, seen),
        _view(raw, joined, output, all_of, all_of[(slice(None), *cut)], part=1),
    )


def _blocks(reader: Reader, raw: RawOp, source: Tensor) -> tuple[list[int], list[tuple[int, int]]]:
    """The block's sizes, and what is padded or cropped before and after each spatial axis."""
    block, amounts = reader.integers(raw, 1), reader.integers(raw, 2)
    if not len(block) == len(source.dims) - 2 == len(amounts) / 2 or min((*block, *amounts)) < 0 or 0 in block:
        raise BadModelError(f"blocks {block}, amounts {amounts} of {list(source.dims)}", where=raw.describe())
    return block, list(zip(amounts[::2], amounts[1::2], strict=True))


def _check_shape(raw: RawOp, output: Tensor, expected: tuple[int, ...]) -> None:
    if output.shape != expected:
        raise BadModelError(f"output {list(output.shape)} where {list(expected)} follows", where=raw.describe())


@calls(View)
def _call(op: View, source: Tensor, _sink: Tensor) -> KernelCall:
    sizes, steps = _in_bytes(op.sizes, op.steps, source.width)
    parameters: Parameters = {
        "offset": op.offset * source.width,
        "sizes": filled(sizes, 1, _MOST_AXES),
        "steps": filled(steps, 0, _MOST_AXES),
    }
    return KernelCall("tg_view", "tg_view.c", parameters)
