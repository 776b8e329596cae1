"""Readers of ops that only move data."""

from __future__ import annotations

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.call import KernelCall, calls
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import Op, Pad, Reshape, Tensor
from tritguard.graph.reading.checks import image, same_scale
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import reads


@reads("RESHAPE", "EXPAND_DIMS", "SQUEEZE")
def reshape(reader: Reader, raw: RawOp) -> Op:
    """RESHAPE, EXPAND_DIMS and SQUEEZE; the shape stored in the file counts, as in TFLM."""
    source, output = reader.in_out(raw)
    if source.size != output.size:
        raise BadModelError(f"{list(source.shape)} into {list(output.shape)}", where=raw.describe())
    same_scale(source, output, raw)
    return Reshape(index=raw.index, inputs=(source.index,), output=output.index)


@reads("PAD")
def pad(reader: Reader, raw: RawOp) -> Op:
    """PAD of height, width and channels."""
    source, output = reader.in_out(raw)
    tensor = reader.constant(raw, 1, "INT32")
    assert tensor.data is not None
    image(source, raw)
    pads = tensor.data
    if pads.shape != (4, 2) or pads[0].any() or pads.min() < 0:
        raise UnsupportedOpError(
            f"paddings {pads.tolist()}, height, width and channels are supported", where=raw.describe()
        )
    expected = tuple(int(side + sum(pad)) for side, pad in zip(source.shape, pads[1:].tolist(), strict=True))
    if output.shape != expected:
        raise BadModelError(f"output {list(output.shape)} where {list(expected)} follows", where=raw.describe())
    same_scale(source, output, raw)
    before, after = pads[1:, 0].tolist(), pads[1:, 1].tolist()
    return Pad(
        index=raw.index,
        inputs=(source.index,),
        output=output.index,
        before=(before[0], before[1], before[2]),
        after=(after[0], after[1], after[2]),
        value=output.zero_point,
    )


@calls(Pad)
def _pad_call(op: Pad, source: Tensor, sink: Tensor) -> KernelCall:
    parameters = {"value": op.value}
    for letter, inside, outside, before in zip("hwc", source.shape, sink.shape, op.before, strict=True):
        parameters |= {f"in_{letter}": inside, f"out_{letter}": outside, f"before_{letter}": before}
    return KernelCall("tg_pad", "tg_elementwise.c", parameters)
