"""The part of a model that TFLM can run and the engine computes, where a file holds more.

Detectors end in an op that sorts boxes, segmentation in an ARG_MAX to int32, some networks in float32 functions of what
they dequantize, and some keyword networks begin and end in 16 bits: the network is taken up to there, and the rest is
left to the host. Ops on constants that TFLM lacks, or that give it a size it wants as a constant, are computed here
once. What remains is a `.tflite` of its own, the golden model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tritguard.emit.tflm.container import pack, schema, unpack
from tritguard.errors import ToolMissingError, UnsupportedOpError
from tritguard.graph.flatbuffer import RawModel, RawOp, RawTensor, parse, reading
from tritguard.graph.reading.fold import folded
from tritguard.oracle import oracle_available, registered_name, registered_ops

_WIDE = ("INT16", "INT32")
_NARROWED = {("INT16", "INT8"), ("INT32", "INT8"), ("INT32", "INT16")}
_HOST_OPS = {"ARG_MAX", "ARG_MIN", "CUSTOM TFLite_Detection_PostProcess", "CUSTOM PosenetDecoderOp"}


@dataclass(frozen=True)
class Golden:
    """The golden model of a file.

    Attributes:
        content: the `.tflite` file; the given bytes if all of it is taken.
        notes: what differs from the given file, a sentence each.
    """

    content: bytes
    notes: tuple[str, ...] = ()


def golden_of(content: bytes) -> Golden:
    """The model without the ops that are left to the host, and with those on constants computed where TFLM needs it.

    Raises:
        BadModelError, UnsupportedOpError: the file cannot be read.
        ToolMissingError: a part has to be left out, and the package that writes models is not installed.
    """
    raw, sizes = _with_sizes(parse(content))
    head, tail = _head(raw), _tail(raw)
    inner = _without(raw, head, tail)
    with reading():
        after = folded(inner)
    ahead = [op for op in inner.ops if op not in after.ops]
    if not _hinders(after, ahead):
        ahead = []
    repeated = not tail and inner.outputs != raw.outputs
    longer = [tensor for tensor in raw.tensors if tensor.unread]
    notes = []
    if longer:
        more = f", as do {len(longer) - 1} others" if len(longer) > 1 else ""
        what = f"tensor {longer[0].index} has {longer[0].unread} bytes more than its shape takes{more}"
        notes.append(f"{what}: they are not read")
    if not head and not tail and not ahead and not repeated and not sizes:
        return Golden(content, tuple(notes))
    if not oracle_available():
        what = "an output that is given twice" if repeated else "an input that says a size"
        if head or tail or ahead:
            what = (head or tail or ahead)[0].describe()
        raise ToolMissingError(
            f"{what} has to be left out, which needs TensorFlow Lite Micro's package",
            fix="pip install 'tritguard[oracle]' (Linux on x86-64)",
        )
    if repeated:
        notes.append("an output that the file gives more than once is given once")
    if sizes:
        notes.append("an input that says a transposed convolution's size is a constant, as the file has the size")
    if head:
        notes.append(f"{_listed(head)} left to the host: the model begins with what they give")
    if tail:
        notes.append(f"{_listed(tail)} left to the host: what they read are the model's outputs")
    if ahead:
        notes.append(f"{_listed(ahead)} computed ahead, as nothing in them depends on the input")
    gone = (*head, *tail, *ahead)
    return Golden(_written(content, inner, after.tensors, gone, sizes), tuple(notes))


def _with_sizes(raw: RawModel) -> tuple[RawModel, set[int]]:
    """The model with constants for the inputs that only say the size of a TRANSPOSE_CONV's output, and those inputs.

    TFLM does not read them: the output's shape in the file counts.
    """
    tensors, sizes = list(raw.tensors), set()
    for tensor in raw.inputs:
        readers = [op for op in raw.ops if tensor in op.inputs]
        if raw.tensors[tensor].type != "INT32" or len(readers) != 1 or readers[0].name != "TRANSPOSE_CONV":
            continue
        if readers[0].inputs.index(tensor) == 0:
            shape = np.array(raw.tensors[readers[0].output(0)].shape, dtype=np.int32)
            tensors[tensor] = replace(raw.tensors[tensor], data=shape, shape=shape.shape)
            sizes.add(tensor)
    inputs = tuple(tensor for tensor in raw.inputs if tensor not in sizes)
    return replace(raw, tensors=tuple(tensors), inputs=inputs), sizes


def _head(raw: RawModel) -> list[RawOp]:
    """The ops that narrow an input of 16 or 32 bits, which nothing else reads, to int8, or one of 32 to 16."""
    readers = {tensor: [op for op in raw.ops if tensor in op.inputs] for tensor in raw.inputs}
    return [
        found[0]
        for tensor, found in readers.items()
        if len(found) == 1
        and found[0].name == "QUANTIZE"
        and (raw.tensors[tensor].type, raw.tensors[found[0].output(0)].type) in _NARROWED
    ]


def _types_behind(raw: RawModel, op: RawOp) -> set[str]:
    """The types of an op's outputs and of all tensors that depend on them."""
    given = {*op.outputs}
    for each in raw.ops:
        if given.intersection(each.inputs):
            given.update(each.outputs)
    return {raw.tensors[tensor].type for tensor in given}


def _widens(raw: RawModel, op: RawOp) -> bool:
    """Whether an op is a softmax from int8 or a QUANTIZE to int32, and nothing behind it is narrow again.

    Behind a softmax, narrow is less than 16 bits; behind a QUANTIZE, less than 32. A QUANTIZE to int16 is the engine's.
    """
    if op.name not in ("QUANTIZE", "SOFTMAX"):
        return False
    source, sink = raw.tensors[op.input(0)].type, raw.tensors[op.output(0)].type
    behind = _types_behind(raw, op)
    if op.name == "SOFTMAX":
        return source == "INT8" and behind.issubset(_WIDE)
    return source in ("INT8", "INT16") and sink == "INT32" and behind == {"INT32"}


def _floats(raw: RawModel, op: RawOp) -> bool:
    """Whether an op reads what a DEQUANTIZE makes of int8, and nothing behind it is int8 again."""
    dequantized = {
        each.output(0) for each in raw.ops if each.name == "DEQUANTIZE" and raw.tensors[each.input(0)].type == "INT8"
    }
    return not dequantized.isdisjoint(op.inputs) and "INT8" not in _types_behind(raw, op)


def _tail(raw: RawModel) -> list[RawOp]:
    """The ops that are left to the host, and all that read what these give."""
    tail: list[RawOp] = []
    given: set[int] = set()
    for op in raw.ops:
        if op.name in _HOST_OPS or given.intersection(op.inputs) or _widens(raw, op) or _floats(raw, op):
            tail.append(op)
            given.update(op.outputs)
    return tail


def _without(raw: RawModel, head: list[RawOp], tail: list[RawOp]) -> RawModel:
    """The model between head and tail: its inputs are what the head gives, its outputs what the tail reads."""
    narrowed = {op.inputs[0]: op.outputs[0] for op in head}
    inputs = tuple(narrowed.get(tensor, tensor) for tensor in raw.inputs)
    left = tuple(op for op in raw.ops if op not in head and op not in tail)
    if not left and (head or tail):
        raise UnsupportedOpError("the model is left to the host entirely", where=(head or tail)[0].describe())
    if not tail:
        return replace(raw, ops=left, inputs=inputs, outputs=tuple(dict.fromkeys(raw.outputs)))
    made = {*inputs} | {output for op in left for output in op.outputs}
    read = [tensor for op in tail for tensor in op.inputs]
    outputs = tuple(dict.fromkeys(tensor for tensor in (*raw.outputs, *read) if tensor in made))
    return replace(raw, ops=left, inputs=inputs, outputs=outputs)


def _hinders(after: RawModel, ahead: list[RawOp]) -> bool:
    """Whether TFLM cannot run ops on constants: it lacks one, or needs the integers that one gives as a constant."""
    known = registered_ops()
    wanted = {tensor for op in after.ops if op.name != "RESHAPE" for tensor in op.inputs}
    return any(
        (known and registered_name(op.name) not in known)
        or any(output in wanted and after.tensors[output].type in ("INT32", "INT64") for output in op.outputs)
        for op in ahead
    )


def _listed(ops: list[RawOp]) -> str:
    names = [op.describe() for op in ops]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more} {'is' if len(names) == 1 else 'are'}"


def _written(
    content: bytes, inner: RawModel, tensors: tuple[RawTensor, ...], gone: tuple[RawOp, ...], sizes: set[int]
) -> bytes:
    """The file with the inputs and outputs of `inner`, and constants for what the ops in `gone` give, and `sizes`."""
    model = unpack(content)
    graph = model.subgraphs[0]
    for size in sizes:
        graph.tensors[size].shape = list(tensors[size].shape)
        _set_data(model, graph.tensors[size], tensors[size])
    model.metadata = model.metadataBuffer = model.signatureDefs = None
    for output in (tensor for op in gone for tensor in op.outputs):
        _set_data(model, graph.tensors[output], tensors[output])
    places = {op.index for op in gone}
    graph.operators = [op for place, op in enumerate(graph.operators) if place not in places]
    graph.inputs, graph.outputs = list(inner.inputs), list(inner.outputs)
    return pack(model)


def _set_data(model: Any, tensor: Any, known: RawTensor) -> None:
    if known.data is not None:
        tensor.buffer = len(model.buffers)
        buffer = schema().BufferT()
        buffer.data = np.ascontiguousarray(known.data).reshape(-1).view(np.uint8)
        model.buffers.append(buffer)
