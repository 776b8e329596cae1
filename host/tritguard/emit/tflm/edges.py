"""The inputs and outputs of an array: tensors of whatever type TFLM has, and the bytes to try them with."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tritguard.errors import BadInputError, BadModelError, UnsupportedOpError
from tritguard.graph.flatbuffer import DTYPES, RawModel, RawTensor, parse
from tritguard.graph.reading.edges import without_edges
from tritguard.predictor import Int8
from tritguard.records import Record

_STEPS = ("INT8", "INT16")  # the types of steps that a float32 edge may stand for
_MOVE = 128  # from a step to an element of uint8


class ArrayEdge(Record):
    """An input or output of the model, with real value = scale * (step - zero_point); a uint8 is its step plus 128.

    Attributes:
        name: as the file has it.
        shape: without a leading 1, which is the batch.
        scale, zero_point: those of the tensor, or of the quantized one behind a QUANTIZE or DEQUANTIZE at an edge; None
            where there is no single one.
        golden_type: the type of the elements.
    """

    name: str
    shape: tuple[int, ...]
    scale: float | None = None
    zero_point: int | None = None
    golden_type: Literal["int8", "uint8", "int16", "int32", "int64", "float32", "bool"] = "int8"

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of an element in memory."""
        return DTYPES[self.golden_type.upper()]

    @property
    def elements(self) -> int:
        """How many there are."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """How many bytes they take."""
        return self.elements * self.dtype.itemsize

    @property
    def resting(self) -> int:
        """The element that stands for 0."""
        if self.zero_point is None or self.golden_type == "float32":
            return 0
        return self.zero_point + _MOVE * (self.golden_type == "uint8")

    def parted(self, row: Int8) -> tuple[NDArray[Any], Int8]:
        """This edge's elements, with which a row of bytes begins, and the rest of the row."""
        return np.frombuffer(row[: self.bytes].tobytes(), self.dtype), row[self.bytes :]


@dataclass(frozen=True)
class _Pair:
    """An edge of the file, and the tensor within its conversion, which is the same one where there is none."""

    outer: RawTensor
    inner: RawTensor

    @property
    def on_grid(self) -> bool:
        """Whether steps of the inner tensor are values of the outer one."""
        return self.inner.type in _STEPS and len(self.inner.scales) == 1 and len(self.inner.zero_points) == 1

    def values(self, steps: NDArray[Any]) -> NDArray[Any]:
        """What the outer tensor holds for steps of the inner one; all conversions are exact."""
        if self.outer.type == "FLOAT32":
            zero_point, scale = np.float32(self.inner.zero_points[0]), np.float32(self.inner.scales[0])
            return np.asarray((steps.astype(np.float32) - zero_point) * scale)
        if self.outer.type == "UINT8" and self.inner.type == "INT8":
            return (steps.astype(np.int16) + _MOVE).astype(np.uint8)
        return steps

    def drawn(self, count: int, random: np.random.Generator) -> NDArray[Any]:
        """Values to try: the least, the greatest, then noise, [count, elements].

        Integers of 32 bits and more without a scale may be indices or sizes: they are 0 or 1.
        """
        shape = (count - 2, prod(self.outer.shape))
        dtype = DTYPES[self.inner.type if self.on_grid else self.outer.type]
        if dtype.kind == "f":
            return np.concatenate([np.full((1, shape[1]), side, dtype) for side in (-1, 1)]
                                  + [random.standard_normal(shape, np.float32)])  # fmt: skip
        info = None if dtype.kind == "b" or (dtype.itemsize > 2 and not self.outer.scales) else np.iinfo(dtype)
        low, high = (0, 1) if info is None else (info.min, info.max)
        noise = random.integers(low, high + 1, shape, np.int8 if dtype.kind == "b" else dtype)
        steps = np.concatenate([np.full((1, shape[1]), side) for side in (low, high)] + [noise]).astype(dtype)
        return self.values(steps) if self.on_grid else steps


def all_edges(content: bytes) -> tuple[tuple[ArrayEdge, ...], tuple[ArrayEdge, ...]]:
    """The model's inputs and outputs.

    Raises:
        BadModelError: the model computes in float32, lacks inputs or outputs, or has some of another type.
    """
    raw = parse(content)
    _check_quantized(raw)
    inside, outside = _pairs(raw)
    sources, sinks = tuple(_edge(pair, "input") for pair in inside), tuple(_edge(pair, "output") for pair in outside)
    if not sources or not sinks:
        raise BadModelError("no input or no output", where="the graph")
    return sources, sinks


def edges(content: bytes) -> tuple[ArrayEdge, ArrayEdge]:
    """The model's only input and its only output; see `all_edges` for what else it raises.

    Raises:
        UnsupportedOpError: there are several.
    """
    sources, sinks = all_edges(content)
    for found, what in ((sources, "input"), (sinks, "output")):
        if len(found) != 1:
            raise UnsupportedOpError(f"{len(found)} {what}s, one is supported", where="the graph")
    return sources[0], sinks[0]


def samples(content: bytes, count: int, real: Int8 | None) -> Int8:
    """Rows with the bytes of all inputs, int8[n, bytes]: random ones, the same on every call, and then real ones.

    Args:
        content: the `.tflite` file.
        count: how many random ones, at least two.
        real: int8[m, *input_shape], steps of a model with one input.

    Raises:
        BadInputError: `real` does not fit the model.
    """
    pairs = _pairs(parse(content))[0]
    random = np.random.default_rng(0)
    drawn = [_bytes(pair.drawn(count, random)) for pair in pairs]
    rows = np.concatenate(drawn, axis=1)
    if real is None:
        return rows
    sources, _ = all_edges(content)
    shape = sources[0].shape
    if len(pairs) != 1 or pairs[0].inner.type != "INT8" or real.dtype != np.int8 or real.shape[1:] != shape:
        raise BadInputError(f"inputs are {real.dtype}{list(real.shape[1:])}, the model takes {_listed(sources)}")
    return np.concatenate([rows, _bytes(pairs[0].values(real.reshape(len(real), -1)))])


def _listed(sources: tuple[ArrayEdge, ...]) -> str:
    return ", ".join(f"{edge.golden_type}{list(edge.shape)}" for edge in sources)


def _bytes(values: NDArray[Any]) -> Int8:
    return np.ascontiguousarray(values).view(np.int8)


def _check_quantized(raw: RawModel) -> None:
    """Refuse float models, which are not what these arrays are for, although TFLM runs some."""
    given = {tensor for op in raw.ops for tensor in (*op.inputs, *op.outputs) if tensor >= 0}
    types = {raw.tensors[tensor].type for tensor in given if raw.tensors[tensor].data is None}
    if "FLOAT32" in types and types.isdisjoint(("INT8", "UINT8", "INT16")):
        raise BadModelError("the model computes in float32", fix="convert the model with full int8 quantization")


def _pairs(raw: RawModel) -> tuple[tuple[_Pair, ...], tuple[_Pair, ...]]:
    """The inputs and the outputs, each with its tensor within a conversion."""
    try:
        inner, _ = without_edges(raw)
    except UnsupportedOpError:  # a uint8 edge that is no move by 128 steps
        inner = raw
    sides = ((raw.inputs, inner.inputs), (raw.outputs, inner.outputs))
    sources, sinks = (
        tuple(_Pair(raw.tensors[a], raw.tensors[b]) for a, b in zip(*side, strict=True)) for side in sides
    )
    return sources, sinks


def _edge(pair: _Pair, what: str) -> ArrayEdge:
    tensor = pair.outer
    if tensor.type not in DTYPES:
        raise BadModelError(f"the {what} is {tensor.type}", where="the graph")
    known = pair.inner if pair.on_grid else tensor
    single = len(known.scales) == 1 and len(known.zero_points) == 1
    kind: Any = tensor.type.lower()
    moved = _MOVE if known.type == "UINT8" else 0
    return ArrayEdge(
        name=tensor.name if known is tensor else known.name,
        shape=tensor.shape[1:] if tensor.shape[:1] == (1,) else tensor.shape,
        scale=known.scales[0] if single else None,
        zero_point=known.zero_points[0] - moved if single else None,
        golden_type=kind,
    )
