"""Rewrites dense layers for older TFLM builds, which silently read a per-channel layer as a per-tensor one."""

from __future__ import annotations

from typing import Any

import numpy as np

from tritguard.emit.tflm.container import op_code, op_number, pack, scales, schema, unpack
from tritguard.graph.arithmetic.fixed_point import quantize_multiplier


def for_old_tflm(content: bytes) -> bytes:
    """Rewrite every per-channel dense layer without changing its arithmetic.

    If all channels have one scale and the fixed-point multiplier stays the same, the layer becomes per-tensor.
    Otherwise it becomes a 1x1 convolution between two reshapes, as convolutions were per-channel from the start.
    """
    model = unpack(content)
    graph = model.subgraphs[0]
    dense = schema().BuiltinOperator.FULLY_CONNECTED
    ops: list[Any] = []
    for op in graph.operators:
        weights = graph.tensors[op.inputs[1]] if op_number(model, op) == dense else None
        if weights is None or len(scales(weights)) < 2 or len(weights.shape) != 2:
            ops.append(op)
        elif _fits_one_scale(graph, op):
            _join_scales(graph, op)
            ops.append(op)
        else:
            ops += _as_convolution(model, op)
    graph.operators = ops
    return pack(model)


def _fits_one_scale(graph: Any, op: Any) -> bool:
    """Whether the per-tensor multiplier, for which TFLM multiplies scales in float32, equals the per-channel one."""
    source, weights, output = (
        np.asarray(scales(graph.tensors[index]), np.float32) for index in (op.inputs[0], op.inputs[1], op.outputs[0])
    )
    if len(np.unique(weights)) > 1:
        return False
    per_channel = float(source[0]) * float(weights[0]) / float(output[0])
    per_tensor = float(source[0] * weights[0]) / float(output[0])
    return quantize_multiplier(per_channel) == quantize_multiplier(per_tensor)


def _join_scales(graph: Any, op: Any) -> None:
    for index in op.inputs[1:]:
        if index >= 0:
            quantization = graph.tensors[index].quantization
            quantization.scale, quantization.zeroPoint = quantization.scale[:1], quantization.zeroPoint[:1]


def _as_convolution(model: Any, op: Any) -> list[Any]:
    """Reshape to an image of one column, convolve, and reshape to the shape of the dense layer's output."""
    graph = model.subgraphs[0]
    weights = graph.tensors[op.inputs[1]]
    units, depth = (int(side) for side in weights.shape)
    rows = int(np.prod(graph.tensors[op.outputs[0]].shape)) // units
    image = _add_tensor(graph, graph.tensors[op.inputs[0]], (1, rows, 1, depth))
    sums = _add_tensor(graph, graph.tensors[op.outputs[0]], (1, rows, 1, units))
    kernel = _add_tensor(graph, weights, (units, 1, 1, depth))
    graph.tensors[kernel].buffer = weights.buffer

    convolution = schema().OperatorT()
    convolution.opcodeIndex = op_code(model, "CONV_2D", 3)
    convolution.inputs, convolution.outputs = [image, kernel, *op.inputs[2:]], [sums]
    convolution.builtinOptionsType = schema().BuiltinOptions.Conv2DOptions
    convolution.builtinOptions = schema().Conv2DOptionsT()
    convolution.builtinOptions.padding = schema().Padding.VALID
    convolution.builtinOptions.strideH = convolution.builtinOptions.strideW = 1
    convolution.builtinOptions.fusedActivationFunction = op.builtinOptions.fusedActivationFunction
    return [_reshape(model, op.inputs[0], image), convolution, _reshape(model, sums, op.outputs[0])]


def _add_tensor(graph: Any, like: Any, shape: tuple[int, ...]) -> int:
    """Add a tensor with the type and quantization of another."""
    tensor = schema().TensorT()
    tensor.type, tensor.quantization, tensor.shape, tensor.hasRank = like.type, like.quantization, list(shape), True
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _reshape(model: Any, source: int, target: int) -> Any:
    graph = model.subgraphs[0]
    shape = np.asarray(graph.tensors[target].shape, dtype="<i4")
    constant = schema().TensorT()
    constant.type, constant.shape, constant.hasRank = schema().TensorType.INT32, [len(shape)], True
    constant.buffer = len(model.buffers)
    model.buffers.append(schema().BufferT())
    model.buffers[-1].data = shape.view(np.uint8)
    graph.tensors.append(constant)
    op = schema().OperatorT()
    op.opcodeIndex = op_code(model, "RESHAPE", 1)
    op.inputs, op.outputs = [source, len(graph.tensors) - 1], [target]
    op.builtinOptionsType = schema().BuiltinOptions.ReshapeOptions
    op.builtinOptions = schema().ReshapeOptionsT()
    op.builtinOptions.newShape = shape
    return op
