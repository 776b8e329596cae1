"""Removes from a `.tflite` what TFLM does not read."""

from __future__ import annotations

from typing import Any

import numpy as np

from tritguard.emit.tflm.container import op_number, pack, scales, schema, unpack


def strip(content: bytes, *, keep_quantization: bool = False) -> bytes:
    """Drop names, descriptions, metadata, signatures, observed ranges and quantization that carries no information.

    Such quantization is: the bias scales of per-channel layers (TFLM derives them, but checks those of per-tensor
    layers); the zero points of channels beyond the first if all are equal (TFLM takes one for all); and what
    tflite-micro's compression leaves on encoded weights (the decoded tensor has the same).

    Args:
        content: a `.tflite` file; of subgraphs that set variables, only what nothing refers to is dropped.
        keep_quantization: leave that quantization alone, as old versions of TFLM may expect it.
    """
    model = unpack(content)
    model.description = model.metadata = model.metadataBuffer = model.signatureDefs = None
    graph = model.subgraphs[0]
    graph.name = None
    for tensor in graph.tensors:
        tensor.name = tensor.shapeSignature = None
        if tensor.quantization is not None:
            tensor.quantization.min = tensor.quantization.max = None
            if len(scales(tensor)) == 0:
                tensor.quantization = None
    if not keep_quantization:
        for index in _derived_biases(model) | _encoded(model):
            graph.tensors[index].quantization = None
        for tensor in graph.tensors:
            _join_zero_points(tensor.quantization)
    return pack(model)


def _derived_biases(model: Any) -> set[int]:
    graph = model.subgraphs[0]
    operator = schema().BuiltinOperator
    weighted = {operator.CONV_2D, operator.DEPTHWISE_CONV_2D, operator.FULLY_CONNECTED}
    return {
        int(op.inputs[2])
        for op in graph.operators
        if op_number(model, op) in weighted
        and len(op.inputs) > 2
        and op.inputs[2] >= 0
        and len(scales(graph.tensors[op.inputs[1]])) > 1
    }


def _encoded(model: Any) -> set[int]:
    graph = model.subgraphs[0]
    custom = schema().BuiltinOperator.CUSTOM
    decodes = (op for op in graph.operators if op_number(model, op) == custom)
    return {int(index) for op in decodes for index in op.inputs if index >= 0 and graph.tensors[index].buffer}


def _join_zero_points(quantization: Any) -> None:
    if quantization is not None and quantization.zeroPoint is not None:
        values = np.unique(quantization.zeroPoint)
        if len(values) == 1:
            quantization.zeroPoint = values
