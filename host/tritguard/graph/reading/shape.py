"""Readers of ops that only move data."""

from __future__ import annotations

import math

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.call import KernelCall, calls
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import Op, Pad, Reshape, Tensor, as_image
from tritguard.graph.reading.checks import same_scale
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import reads, reads_wide

_IMAGE_AXES = 3


@reads_wide("RESHAPE", "EXPAND_DIMS")
@reads("RESHAPE", "EXPAND_DIMS", "SQUEEZE", device="nothing")
def reshape(reader: Reader, raw: RawOp) -> Op:
    """RESHAPE, EXPAND_DIMS and SQUEEZE; the shape stored in the file counts, as in TFLM."""
    source, output = reader.in_out(raw)
    if source.size != output.size:
        raise BadModelError(f"{list(source.shape)} into {list(output.shape)}", where=raw.describe())
    same_scale(source, output, raw)
    return Reshape(index=raw.index, inputs=(source.index,), output=output.index)


@reads_wide("PAD", "PADV2", limits="PADV2: with 0 or -1")
@reads("PAD", "PADV2", device="copies into a filled output", limits="beyond the last three axes one copy for each")
def pad(reader: Reader, raw: RawOp) -> Op | tuple[Op, ...]:
    """PAD with the zero point, PADV2 with any constant."""
    source, output = reader.in_out(raw)
    amounts = reader.integers(raw, 1)
    if len(amounts) != 2 * len(source.dims) or min(amounts) < 0:
        raise BadModelError(f"paddings {amounts} of {list(source.dims)}", where=raw.describe())
    pads = list(zip(amounts[::2], amounts[1::2], strict=True))
    expected = tuple(side + sum(pair) for side, pair in zip(source.dims, pads, strict=True))
    if output.dims != expected:
        raise BadModelError(f"output {list(output.dims)} where {list(expected)} follows", where=raw.describe())
    same_scale(source, output, raw)
    value = output.zero_point
    if raw.name == "PADV2":
        data = reader.constant(raw, 2, "INT8" if source.width == 1 else "INT16").data
        assert data is not None
        value = int(data.ravel()[0])
    if source.width > 1 and value not in (0, -1):  # only these have two equal bytes
        raise UnsupportedOpError(f"16-bit padding with {value}, 0 and -1 are supported", where=raw.describe())
    inner = pads[1:] if source.batched else pads
    *outer, height, width, depth = [(0, 0), (0, 0), *inner]
    joined = len(inner) > _IMAGE_AXES  # the rows of several images are those of one tall image
    if any(map(sum, [*pads[: len(pads) - len(inner)], *outer])) or (joined and any(height)):
        return _pads(reader, raw, pads, value)
    return Pad(
        index=raw.index,
        inputs=(source.index,),
        output=output.index,
        before=(height[0], width[0], depth[0]),
        after=(height[1], width[1], depth[1]),
        value=value,
    )


def _pads(reader: Reader, raw: RawOp, pads: list[tuple[int, int]], value: int) -> tuple[Op, ...]:
    """A reshape and a Pad per padded axis, last axis first: the width of an image whose height is all axes before."""
    source, output = reader.in_out(raw)
    ops: list[Op] = []
    dims, held = list(source.dims), source

    def shaped(target: Tensor) -> None:
        ops.append(Reshape(index=raw.index, inputs=(held.index,), output=target.index, part=len(ops)))

    for axis in reversed(range(len(pads))):
        if not any(pads[axis]):
            continue
        before, after = pads[axis]
        outer, inner = math.prod(dims[:axis]), math.prod(dims[axis + 1 :])
        image = reader.between(source, (1, outer, dims[axis], inner))
        shaped(image)
        dims[axis] += before + after
        held = reader.between(source, (1, outer, dims[axis], inner))
        ops.append(
            Pad(
                index=raw.index,
                inputs=(image.index,),
                output=held.index,
                part=len(ops),
                before=(0, before, 0),
                after=(0, after, 0),
                value=value,
            )
        )
    shaped(output)
    return tuple(ops)


@calls(Pad)
def _pad_call(op: Pad, source: Tensor, sink: Tensor) -> KernelCall:
    parameters = {"value": op.value}
    sides = (as_image(tensor.shape) for tensor in (source, sink))
    for letter, inside, outside, before in zip("hwc", *sides, op.before, strict=True):
        width = source.width if letter == "c" else 1
        parameters |= {
            f"in_{letter}": inside * width,
            f"out_{letter}": outside * width,
            f"before_{letter}": before * width,
        }
    return KernelCall("tg_pad", "tg_elementwise.c", parameters)
