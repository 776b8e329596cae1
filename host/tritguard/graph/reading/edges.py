"""Removes edges that are not int8: a golden model may quantize its input first and dequantize its output last.

The host converts in the device's place, and the device's graph is what lies between. An edge is a float32 input read by
one QUANTIZE, an output of a DEQUANTIZE, or a uint8 tensor that a QUANTIZE moves by 128 steps, whatever its scale is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tritguard.errors import UnsupportedOpError
from tritguard.graph.arithmetic.fixed_point import INT8_MIN, requant, requantise
from tritguard.graph.flatbuffer import RawModel, RawOp, RawTensor

_MOVE = 128
_OUTSIDE = ("FLOAT32", "UINT8")


def without_edges(model: RawModel) -> tuple[RawModel, dict[int, str]]:
    """The model between its conversions, and the golden model's type of each edge that moved.

    Raises:
        UnsupportedOpError: the conversion of a uint8 edge is more than a move by 128 steps.
    """
    dropped: set[int] = set()
    types: dict[int, str] = {}
    inputs, outputs = list(model.inputs), list(model.outputs)
    for place, tensor in enumerate(inputs):
        readers = [op for op in model.ops if tensor in op.inputs]
        if _outside(model, tensor) and [op.name for op in readers] == ["QUANTIZE"]:
            inputs[place] = _moved(model, readers[0], tensor, readers[0].output(0), types)
            dropped.add(readers[0].index)
    for place, tensor in enumerate(outputs):
        producer = next((op for op in model.ops if tensor in op.outputs), None)
        if _outside(model, tensor) and producer is not None and producer.name in ("DEQUANTIZE", "QUANTIZE"):
            outputs[place] = _moved(model, producer, tensor, producer.input(0), types)
            dropped.add(producer.index)
    ops = tuple(op for op in model.ops if op.index not in dropped)
    return replace(model, ops=ops, inputs=tuple(inputs), outputs=tuple(outputs)), types


def _outside(model: RawModel, tensor: int) -> bool:
    return model.tensors[tensor].type in _OUTSIDE


def _moved(model: RawModel, op: RawOp, outer: int, inner: int, types: dict[int, str]) -> int:
    """The edge's tensor inside the conversion."""
    outside = model.tensors[outer]
    source, sink = model.tensors[op.input(0)], model.tensors[op.output(0)]
    if outside.type == "UINT8" and not _moves_by_128(source, sink):
        raise UnsupportedOpError("a uint8 edge with another scale than the int8 tensor's", where=op.describe())
    types[inner] = outside.type
    return inner


def _moves_by_128(source: RawTensor, sink: RawTensor) -> bool:
    """Whether TFLM's QUANTIZE moves every value by 128 steps; scales that differ in their last bit do not hinder it."""
    for tensor in (source, sink):
        if len(tensor.scales) != 1 or len(tensor.zero_points) != 1 or not tensor.scales[0]:
            return False
    move = sink.zero_points[0] - source.zero_points[0]
    if abs(move) != _MOVE:
        return False
    lowest = 0 if source.type == "UINT8" else INT8_MIN
    values = np.arange(lowest, lowest + 256)
    clamp = (lowest + move, lowest + 255 + move)
    scaling = requant(np.array([source.scales[0] / sink.scales[0]]), sink.zero_points[0], clamp)
    return bool(np.array_equal(requantise(values - source.zero_points[0], scaling), values + move))
