"""Unpacks a `.tflite` container into mutable objects, in tflite-micro's schema classes, and packs it with alignment."""

from __future__ import annotations

from functools import partial
from typing import Any

import flatbuffers
import numpy as np

from tritguard.graph.flatbuffer import IDENTIFIER, reading

ALIGNMENT = 16  # the schema's force_align for constants, which Python's flatbuffers ignores


def schema() -> Any:
    """The module of schema classes, imported only when used, as it comes with the oracle's package."""
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated  # noqa: PLC0415 - optional

    return schema_py_generated


def unpack(content: bytes) -> Any:
    """The file as a `ModelT` whose op codes are in the newer of their two fields.

    Old converters fill only the 8-bit field, but tflite-micro's compression reads the other one and would take all ops
    of such a file for the same op.

    Raises:
        BadModelError: the file is damaged in a part that `graph.flatbuffer.parse` does not read.
    """
    with reading():
        model = schema().ModelT.InitFromPackedBuf(content, 0)
    for code in model.operatorCodes:
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    return model


def pack(model: Any) -> bytes:
    """The bytes of a `ModelT` without unused parts; every constant starts at a multiple of 16."""
    _prune(model)
    for buffer in model.buffers:
        buffer.Pack = partial(_pack_buffer, buffer)
    builder = flatbuffers.Builder(1 << 16)
    with reading():  # a damaged option can hold a value that its field cannot
        builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def op_code(model: Any, name: str, version: int) -> int:
    """The index of a builtin op's code in the model; the code is added if it is missing."""
    number = getattr(schema().BuiltinOperator, name)
    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == number:
            return index
    code = schema().OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def op_number(model: Any, op: Any) -> int:
    """The number of an op in `BuiltinOperator`."""
    return int(model.operatorCodes[op.opcodeIndex].builtinCode)


def scales(tensor: Any) -> Any:
    """The scales of a `TensorT`, float32[n] or a list; empty if it is not quantized."""
    quantization = tensor.quantization
    return [] if quantization is None or quantization.scale is None else quantization.scale


def _pack_buffer(buffer: Any, builder: Any) -> int:
    data = b"" if buffer.data is None else bytes(np.asarray(buffer.data, dtype=np.uint8))
    vector = None
    if data:
        builder.Prep(ALIGNMENT, len(data))
        vector = builder.CreateByteVector(data)
    schema().BufferStart(builder)
    if vector is not None:
        schema().BufferAddData(builder, vector)
    return int(schema().BufferEnd(builder))


def _prune(model: Any) -> None:
    """Drop tensors, buffers and op codes that nothing refers to, and renumber the rest."""
    for graph in model.subgraphs:
        _prune_tensors(graph)
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    operators = [op for graph in model.subgraphs for op in graph.operators]

    buffers = sorted({0} | {tensor.buffer for tensor in tensors})  # the first buffer stands for "no data"
    for tensor in tensors:
        tensor.buffer = buffers.index(tensor.buffer)
    model.buffers = [model.buffers[index] for index in buffers]

    codes = sorted({op.opcodeIndex for op in operators})
    for op in operators:
        op.opcodeIndex = codes.index(op.opcodeIndex)
    model.operatorCodes = [model.operatorCodes[index] for index in codes]


def _prune_tensors(graph: Any) -> None:
    lists = [(graph, "inputs"), (graph, "outputs")]
    lists += [(op, side) for op in graph.operators for side in ("inputs", "outputs")]
    lists += [(op, "intermediates") for op in graph.operators if op.intermediates is not None]  # an LSTM's scales
    used = sorted({int(index) for owner, side in lists for index in _listed(getattr(owner, side))} - {-1})
    number = {old: new for new, old in enumerate(used)} | {-1: -1}
    for owner, side in lists:
        setattr(owner, side, [number[int(index)] for index in _listed(getattr(owner, side))])
    graph.tensors = [graph.tensors[index] for index in used]


def _listed(indices: Any) -> Any:
    """A list, empty if the file leaves it out, as it may for the inputs of an op without any."""
    return [] if indices is None else indices
