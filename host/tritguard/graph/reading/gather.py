"""The reader of GATHER, which picks slices along an axis."""

from __future__ import annotations

import math

import numpy as np
import tflite

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.call import KernelCall, Parameters, calls
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import Gather, Op, Tensor
from tritguard.graph.reading.checks import axis_of, options_of, same_scale
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import reads


@reads("GATHER", device="copies of slices", limits="indices are constants, the same for each batch")
def gather(reader: Reader, raw: RawOp) -> Op:
    """GATHER of slices whose indices are constants in the file."""
    source, output = reader.in_out(raw)
    same_scale(source, output, raw)
    options, indices, dims = options_of(raw, tflite.GatherOptions), reader.integers(raw, 1), source.dims
    if options.BatchDims():
        raise UnsupportedOpError("indices for each batch", where=raw.describe())
    axis = axis_of(raw, options.Axis(), len(dims))
    rows, side, width = math.prod(dims[:axis]), dims[axis], math.prod(dims[axis + 1 :])
    if rows * len(indices) * width != output.size or not all(0 <= index < side for index in indices):
        raise BadModelError(f"{len(indices)} of {list(dims)} into {list(output.dims)}", where=raw.describe())
    return Gather(
        index=raw.index, inputs=(source.index,), output=output.index,
        rows=rows, side=side, width=width, indices=tuple(indices),
    )  # fmt: skip


@calls(Gather)
def _call(op: Gather, _source: Tensor, _sink: Tensor) -> KernelCall:
    parameters: Parameters = {
        "rows": op.rows,
        "side": op.side,
        "width": op.width,
        "count": len(op.indices),
        "indices": np.array(op.indices, dtype=np.int32),
    }
    return KernelCall("tg_gather", "tg_gather.c", parameters)
