"""The reader of padding that mirrors the values at an edge."""

from __future__ import annotations

from typing import Literal

import numpy as np
import tflite

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.call import KernelCall, Parameters, calls
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import MirrorPad, Op, Tensor
from tritguard.graph.reading.checks import image, options_of, same_scale
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import reads

_MODES: dict[int, Literal["reflect", "symmetric"]] = {  # NumPy's names
    tflite.MirrorPadMode.REFLECT: "reflect",
    tflite.MirrorPadMode.SYMMETRIC: "symmetric",
}


@reads("MIRROR_PAD", device="tables of rows, columns and channels", limits="height, width and channels")
def mirror_pad(reader: Reader, raw: RawOp) -> Op:
    """MIRROR_PAD; the edge itself is repeated (SYMMETRIC) or not (REFLECT)."""
    source, output = reader.in_out(raw)
    same_scale(source, output, raw)
    sides, out = image(source, raw), image(output, raw)
    amounts = reader.integers(raw, 1)
    mode = _MODES.get(options_of(raw, tflite.MirrorPadOptions).Mode())
    if mode is None or len(amounts) != 8 or amounts[:2] != [0, 0]:
        raise UnsupportedOpError(f"paddings {amounts}, height, width and channels are supported", where=raw.describe())
    pairs = list(zip(amounts[2::2], amounts[3::2], strict=True))
    for side, total, pair in zip(sides, out, pairs, strict=True):
        if min(pair) < 0 or max(pair) > side - (mode == "reflect") or side + sum(pair) != total:
            raise BadModelError(f"{list(sides)} padded by {pairs} into {list(out)}", where=raw.describe())
    rows, columns, depths = (
        tuple(np.pad(np.arange(side), pair, mode=mode).tolist()) for side, pair in zip(sides, pairs, strict=True)
    )
    return MirrorPad(
        index=raw.index, inputs=(source.index,), output=output.index, rows=rows, columns=columns, depths=depths
    )


@calls(MirrorPad)
def _call(op: MirrorPad, source: Tensor, _sink: Tensor) -> KernelCall:
    _, in_w, in_c = source.shape
    parameters: Parameters = {
        "in_w": in_w,
        "in_c": in_c,
        "out_h": len(op.rows),
        "out_w": len(op.columns),
        "out_c": len(op.depths),
        "rows": np.array(op.rows, dtype=np.uint16),
        "columns": np.array(op.columns, dtype=np.uint16),
        "depths": np.array(op.depths, dtype=np.uint16),
    }
    return KernelCall("tg_mirror_pad", "tg_mirror_pad.c", parameters)
