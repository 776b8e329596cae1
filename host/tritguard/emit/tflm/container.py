"""The `.tflite` container as objects to change, in tflite-micro's own schema classes, and back as aligned bytes."""

from __future__ import annotations

from functools import partial
from typing import Any

import flatbuffers
import numpy as np

from tritguard.graph.flatbuffer import IDENTIFIER, reading

ALIGNMENT = 16  # of constants: the schema's force_align, which Python's flatbuffers leaves out


def schema() -> Any:
    """The module of schema classes; it comes with the oracle's package, so it is imported where it is used."""
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated  # noqa: PLC0415 - optional

    return schema_py_generated


def unpack(content: bytes) -> Any:
    """The file as a `ModelT` whose op codes are in the newer of their two fields.

    Old converters fill the 8-bit field alone, and tflite-micro's compression reads the other: to it, all ops of such
    a file are one.

    Raises:
        BadModelError: damaged in a part that `graph.flatbuffer.parse` does not read.
    """
    with reading():
        model = schema().ModelT.InitFromPackedBuf(content, 0)
    for code in model.operatorCodes:
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    return model


def pack(model: Any) -> bytes:
    """The bytes of a `ModelT`, without what nothing refers to; every constant starts at a multiple of 16."""
    _prune(model)
    for buffer in model.buffers:
        buffer.Pack = partial(_pack_buffer, buffer)
    builder = flatbuffers.Builder(1 << 16)
    with reading():  # a damaged option can hold what its field cannot
        builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def op_code(model: Any, name: str, version: int) -> int:
    """Index of a builtin op's code in the model, added where it is not there."""
    number = getattr(schema().BuiltinOperator, name)
    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == number:
            return index
    code = schema().OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def op_number(model: Any, op: Any) -> int:
    """Number of an op in `BuiltinOperator`."""
    return int(model.operatorCodes[op.opcodeIndex].builtinCode)


def scales(tensor: Any) -> Any:
    """float32[n] or a list: a `TensorT`'s scales, none where it is not quantized."""
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
    (graph,) = model.subgraphs
    lists = [(graph, "inputs"), (graph, "outputs")]
    lists += [(op, side) for op in graph.operators for side in ("inputs", "outputs")]
    used = sorted({int(index) for owner, side in lists for index in getattr(owner, side)} - {-1})
    number = {old: new for new, old in enumerate(used)} | {-1: -1}
    for owner, side in lists:
        setattr(owner, side, [number[int(index)] for index in getattr(owner, side)])
    graph.tensors = [graph.tensors[index] for index in used]

    buffers = sorted({0} | {tensor.buffer for tensor in graph.tensors})  # the first one stands for "none"
    for tensor in graph.tensors:
        tensor.buffer = buffers.index(tensor.buffer)
    model.buffers = [model.buffers[index] for index in buffers]

    codes = sorted({op.opcodeIndex for op in graph.operators})
    for op in graph.operators:
        op.opcodeIndex = codes.index(op.opcodeIndex)
    model.operatorCodes = [model.operatorCodes[index] for index in codes]
