"""Constant folding: ops that no input reaches are computed here once and become constants of the file's own kind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.errors import UnsupportedOpError
from tritguard.graph.arithmetic.fixed_point import INT8_MAX, INT8_MIN
from tritguard.graph.arithmetic.reference import computed
from tritguard.graph.flatbuffer import RawModel, RawOp, RawTensor
from tritguard.graph.model import Int8
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import read_op, supported_ops
from tritguard.graph.reading.shapes import is_shape_arithmetic, shape_values

# Ops that take one activation and otherwise constants: the position of the activation among their inputs.
_ACTIVATION = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 0, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 2, "PADV2": 0}


def folded(model: RawModel) -> RawModel:
    """The model without the ops whose inputs are constants.

    A float32 constant that a QUANTIZE reads is quantized; arithmetic on shapes is done.

    Raises:
        BadModelError, UnsupportedOpError: as for `read_graph`, about the ops that are computed.
    """
    tensors = list(model.tensors)
    left = []
    for op in model.ops:
        if _is_constant(op, tensors):
            for index, values in _outputs(model, op, tensors).items():
                tensors[index] = replace(tensors[index], data=values)
        else:
            left.append(op)
    return replace(model, tensors=tuple(tensors), ops=tuple(left))


def _is_constant(op: RawOp, tensors: list[RawTensor]) -> bool:
    inputs = [tensors[index] for index in op.inputs if index >= 0]
    outputs = [tensors[index] for index in op.outputs]
    if op.name == "SHAPE" or not inputs or not outputs:
        return op.name == "SHAPE"
    if any(tensor.data is None for tensor in inputs):
        return False
    return is_shape_arithmetic(op) or all(tensor.type == "INT8" for tensor in outputs)


def _outputs(model: RawModel, op: RawOp, tensors: list[RawTensor]) -> dict[int, NDArray[Any]]:
    """The value of each output: an int8 one is computed as if the constants that the op reads were activations."""
    first = tensors[op.input(0)]
    is_activation = op.name in supported_ops() and tensors[op.output(0)].type == "INT8"
    if op.name == "CAST" and first.type != "INT8":
        is_activation = False
    if is_shape_arithmetic(op) and not is_activation:
        return {op.outputs[0]: shape_values(model, op, tensors)}
    if op.name == "QUANTIZE" and first.type == "FLOAT32":
        assert first.data is not None
        return {op.outputs[0]: _quantized(op, first.data, tensors[op.outputs[0]])}
    operands = _activations(op)
    shown = tuple(
        replace(tensor, data=None) if tensor.index in operands and tensor.type == "INT8" else tensor
        for tensor in tensors
    )
    reader = Reader(replace(model, tensors=shown))
    values: dict[int, Int8] = {}
    for part in read_op(reader, op):
        inputs = [values[index] if index in values else np.asarray(tensors[index].data) for index in part.inputs]
        values[part.output] = computed(part, inputs, reader.tensors)
    return {index: values[index].reshape(tensors[index].shape) for index in op.outputs}


def _activations(op: RawOp) -> set[int]:
    """The inputs that are activations, which weights are not."""
    return {op.input(_ACTIVATION[op.name])} if op.name in _ACTIVATION else {*op.inputs}


def _quantized(op: RawOp, real: NDArray[np.float32], output: RawTensor) -> Int8:
    """Quantize as `AffineQuantize` does: in float32, halves rounded away from zero."""
    if len(output.scales) != 1 or len(output.zero_points) != 1 or not output.scales[0]:
        raise UnsupportedOpError("a constant quantized to more or less than one scale", where=op.describe())
    steps = real / np.float32(output.scales[0])
    rounded = np.trunc(steps + np.copysign(np.float32(0.5), steps)) + output.zero_points[0]
    return np.asarray(np.clip(rounded, INT8_MIN, INT8_MAX), dtype=np.int8)
