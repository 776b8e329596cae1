"""The `.tflite` container: a flatbuffer read into plain records, with every reference checked.

Python's flatbuffers does not verify a buffer: a damaged file shows up as an out-of-range read somewhere in it. Only
this module reads files that may be damaged, and it turns whatever breaks into one BadModelError.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.oracle import builtin_code

IDENTIFIER = b"TFL3"
_MOST_SUBGRAPHS = 16
MAX_ELEMENTS = 1 << 28  # a tensor beyond this is damage, not a model for a microcontroller
_OP_NAMES = {value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}
_TYPE_NAMES = {value: name for name, value in vars(tflite.TensorType).items() if isinstance(value, int)}
DTYPES: dict[str, np.dtype[Any]] = {
    "INT8": np.dtype("int8"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FLOAT32": np.dtype("<f4"),
    "UINT8": np.dtype("uint8"),
    "BOOL": np.dtype("?"),
}


@dataclass(frozen=True)
class RawTensor:
    """A tensor as the file has it. `data` is None for activations."""

    index: int
    name: str
    type: str
    shape: tuple[int, ...]
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    quantized_dimension: int
    data: NDArray[Any] | None
    is_variable: bool = False  # kept from one inference to the next by the op that reads it
    unread: int = 0  # bytes of the file's data behind those that the shape takes, which TFLM does not read either


@dataclass(frozen=True)
class RawOp:
    """An operator as the file has it.

    A missing optional input is -1, which as a place in a list would be the last one: `input` is for those that an op
    cannot lack. No output is missing.
    """

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any  # flatbuffers Table, or None
    options_type: int  # which of the schema's tables it is

    def describe(self) -> str:
        """The op as error messages name it."""
        return f"op {self.index} ({self.name})"

    def input(self, position: int) -> int:
        """The tensor of the input at a position.

        Raises:
            BadModelError: the op has no such input.
        """
        index = self.inputs[position] if position < len(self.inputs) else -1
        if index < 0:
            raise BadModelError(f"input {position} is missing", where=self.describe())
        return index

    def output(self, position: int) -> int:
        """The tensor of the output at a position.

        Raises:
            BadModelError: the op has no such output.
        """
        if position >= len(self.outputs):
            raise BadModelError(f"output {position} is missing", where=self.describe())
        return self.outputs[position]


@dataclass(frozen=True)
class RawModel:
    """One subgraph's tensors and operators."""

    tensors: tuple[RawTensor, ...]
    ops: tuple[RawOp, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    further: tuple[RawModel, ...] = ()  # the other subgraphs of the file, which CALL_ONCE runs


@contextmanager
def reading() -> Iterator[None]:
    """Turn whatever a read outside the file raises into a BadModelError. Options, which are read late, need it too."""
    try:
        yield
    except (struct.error, IndexError, ValueError, TypeError, OverflowError, MemoryError, AttributeError) as error:
        raise BadModelError("damaged file (a part of it lies outside the file)") from error


def parse(content: bytes) -> RawModel:
    """Read a `.tflite` file.

    Raises:
        BadModelError: the content is not a TensorFlow Lite file, or is damaged.
        UnsupportedOpError: the model has branches or loops.
    """
    if len(content) < 8 or content[4:8] != IDENTIFIER:
        raise BadModelError("not a TensorFlow Lite file (no TFL3 mark)")
    with reading():
        return _parse(content)


def _parse(content: bytes) -> RawModel:
    model = tflite.Model.GetRootAs(content, 0)
    _check_subgraphs(model)
    main, *further = (_subgraph(model, model.Subgraphs(i), content) for i in range(model.SubgraphsLength()))
    return replace(main, further=tuple(further))


def _subgraph(model: Any, subgraph: Any, content: bytes) -> RawModel:
    _check_length(subgraph.TensorsLength(), content)
    _check_length(subgraph.OperatorsLength(), content)
    tensors = tuple(_tensor(model, subgraph.Tensors(i), i) for i in range(subgraph.TensorsLength()))
    ops = tuple(_op(model, subgraph.Operators(i), i, len(tensors)) for i in range(subgraph.OperatorsLength()))
    inputs = _present(subgraph.InputsAsNumpy(), len(tensors), "input", "the graph")
    outputs = _present(subgraph.OutputsAsNumpy(), len(tensors), "output", "the graph")
    return RawModel(tensors, ops, inputs, outputs)


# Why ops with subgraphs of their own are refused, except CALL_ONCE, whose subgraph sets the states at the beginning.
SUBGRAPH_OPS = {
    "IF": "branches are not supported",
    "WHILE": "loops are not supported",
}


def _check_subgraphs(model: Any) -> None:
    """Refuse subgraphs that are not there to set states."""
    count = model.SubgraphsLength()
    if count == 1:
        return
    graph: Any = model.Subgraphs(0) if count else None
    names = set()
    for index in range(0 if graph is None else graph.OperatorsLength()):
        op = _op(model, graph.Operators(index), index, graph.TensorsLength())
        if op.name in SUBGRAPH_OPS:
            raise UnsupportedOpError(SUBGRAPH_OPS[op.name], where=op.describe())
        names.add(op.name)
    if count > _MOST_SUBGRAPHS or "CALL_ONCE" not in names:
        raise BadModelError(f"{count} subgraphs, only one is supported, or two where the other sets states (CALL_ONCE)")


def _check_length(length: int, content: bytes) -> None:
    if length * 4 > len(content):
        raise BadModelError("damaged file (a list is longer than the file)")


def _numbers(values: Any) -> list[Any]:
    """A vector's elements; an absent vector reads as the number 0."""
    return [] if isinstance(values, int) else values.tolist()


def _indices(values: Any, count: int, where: str) -> tuple[int, ...]:
    indices = tuple(_numbers(values))
    if any(not -1 <= index < count for index in indices):
        raise BadModelError("damaged file (a reference to a tensor that does not exist)", where=where)
    return indices


def _present(values: Any, count: int, what: str, where: str) -> tuple[int, ...]:
    """Indices of which none may be missing."""
    indices = _indices(values, count, where)
    if -1 in indices:
        raise BadModelError(f"{what} {indices.index(-1)} is missing", where=where)
    return indices


def _op(model: Any, operator: Any, index: int, tensor_count: int) -> RawOp:
    code = model.OperatorCodes(operator.OpcodeIndex())
    if code is None or operator.OpcodeIndex() >= model.OperatorCodesLength():
        raise BadModelError("damaged file (unknown operator code)", where=f"op {index}")
    number = builtin_code(code)
    name = _OP_NAMES.get(number, f"operator code {number}")
    if name == "CUSTOM":
        name = f"CUSTOM {(code.CustomCode() or b'?').decode(errors='replace')}"
    where = f"op {index} ({name})"
    return RawOp(
        index,
        name,
        _indices(operator.InputsAsNumpy(), tensor_count, where),
        _present(operator.OutputsAsNumpy(), tensor_count, "output", where),
        operator.BuiltinOptions(),
        operator.BuiltinOptionsType(),
    )


def _tensor(model: Any, tensor: Any, index: int) -> RawTensor:
    where = f"tensor {index}"
    name = (tensor.Name() or b"").decode(errors="replace")
    kind = _TYPE_NAMES.get(tensor.Type(), f"type {tensor.Type()}")
    shape = tuple(_numbers(tensor.ShapeAsNumpy()))
    elements = 1
    for dimension in shape:
        elements *= dimension
        if dimension < 0 or elements > MAX_ELEMENTS:
            raise BadModelError(f"damaged file (shape {list(shape)})", where=where)
    scales, zero_points, dimension = _quantization(tensor.Quantization(), where)
    data, unread = _data(model, tensor, kind, shape, elements, where)
    return RawTensor(index, name, kind, shape, scales, zero_points, dimension, data, bool(tensor.IsVariable()), unread)


def _quantization(quantization: Any, where: str) -> tuple[tuple[float, ...], tuple[int, ...], int]:
    if quantization is None:
        return (), (), 0
    scales = tuple(_numbers(quantization.ScaleAsNumpy()))
    zero_points = tuple(_numbers(quantization.ZeroPointAsNumpy()))
    if any(not 0 <= scale < float("inf") for scale in scales):
        raise BadModelError("damaged file (a scale is negative or not finite)", where=where)
    return scales, zero_points, int(quantization.QuantizedDimension())


def _data(
    model: Any, tensor: Any, kind: str, shape: tuple[int, ...], elements: int, where: str
) -> tuple[NDArray[Any] | None, int]:
    """The values of a constant, or None for an activation, and how many bytes lie behind the values."""
    number = tensor.Buffer()
    if number >= model.BuffersLength():
        raise BadModelError("damaged file (a reference to a buffer that does not exist)", where=where)
    raw = model.Buffers(number).DataAsNumpy()
    if isinstance(raw, int) or raw.size == 0:
        return None, 0
    if kind not in DTYPES:
        return np.asarray(raw), 0
    size = elements * DTYPES[kind].itemsize
    if raw.size < size:
        raise BadModelError(f"damaged file ({raw.size} bytes for {kind} {list(shape)})", where=where)
    # A copy: the view would keep the whole file alive and has no alignment.
    return np.frombuffer(raw[:size].tobytes(), dtype=DTYPES[kind]).reshape(shape), int(raw.size) - size
