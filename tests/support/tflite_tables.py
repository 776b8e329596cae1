"""Writes `.tflite` files table by table, with the schema of the `tflite` package, which the product reads them with.

Neither TensorFlow nor the oracle is needed to write a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite
from numpy.typing import NDArray

DTYPES = {
    "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64, "FLOAT32": np.float32, "UINT8": np.uint8,
}  # fmt: skip


class Table:
    """A table of the schema by its name; fields are named as in the schema's functions, for example StrideH."""

    def __init__(self, name: str, **fields: Any) -> None:
        self.name = name
        self.fields = fields

    def write(self, builder: flatbuffers.Builder) -> int:
        """Write the table, after what it refers to, and return its offset."""
        values = {name: self._value(builder, value) for name, value in self.fields.items() if value is not None}
        getattr(tflite, f"{self.name}Start")(builder)
        for name, value in values.items():
            getattr(tflite, f"{self.name}Add{name}")(builder, value)
        return int(getattr(tflite, f"{self.name}End")(builder))

    @staticmethod
    def _value(builder: flatbuffers.Builder, value: Any) -> Any:
        if isinstance(value, Table):
            return value.write(builder)
        if isinstance(value, str):
            return builder.CreateString(value)
        if isinstance(value, np.ndarray):
            return builder.CreateNumpyVector(value)
        if isinstance(value, list):
            offsets = [table.write(builder) for table in value]
            builder.StartVector(4, len(offsets), 4)
            for offset in reversed(offsets):
                builder.PrependUOffsetTRelative(offset)
            return builder.EndVector()
        return value


def ints(values: Sequence[int]) -> NDArray[np.int32]:
    """Write a vector of the schema's ints and return its offset."""
    return np.array(values, dtype=np.int32)


@dataclass
class TensorSpec:
    """A tensor as it will be written; shape with the batch."""

    shape: list[int]
    type: str
    scales: list[float] | None
    zero_points: list[int] | None
    axis: int
    buffer: int
    name: str
    signature: list[int] | None = field(default=None)
    variable: bool = False  # kept from one inference to the next by the op that reads it
    no_shape: bool = False  # as some writers leave out that of a single number

    def table(self) -> Table:
        quantization = None
        if self.scales is not None:
            quantization = Table(
                "QuantizationParameters",
                Scale=np.array(self.scales, dtype=np.float32),
                ZeroPoint=np.array(self.zero_points, dtype=np.int64),
                QuantizedDimension=self.axis,
            )
        return Table(
            "Tensor",
            Shape=None if self.no_shape else ints(self.shape),
            Type=getattr(tflite.TensorType, self.type),
            Buffer=self.buffer,
            Name=self.name,
            Quantization=quantization,
            ShapeSignature=None if self.signature is None else ints(self.signature),
            IsVariable=self.variable or None,
        )


class ModelTables:
    """A model's tensors, operators and buffers while it grows."""

    def __init__(self, shape: tuple[int, ...], scale: float, zero_point: int) -> None:
        self.tensors: list[TensorSpec] = []
        self.operators: list[Table] = []
        self.buffers: list[Table] = [Table("Buffer")]
        self.codes: list[int | str] = []  # of builtin ops by number, of custom ones as "CUSTOM NAME"
        self.inputs: list[int] = []
        self.narrow_codes = (
            True  # whether operator codes also have the first schema's byte, which not all writers write
        )
        self.input = self.add_input(shape, scale, zero_point)

    def add_input(self, shape: tuple[int, ...], scale: float, zero_point: int) -> int:
        """Add one more input to the model."""
        self.inputs.append(self.activation(shape, scale, zero_point))
        return self.inputs[-1]

    def shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(self.tensors[tensor].shape[1:])

    def quant(self, tensor: int) -> tuple[float, int]:
        spec = self.tensors[tensor]
        assert spec.scales is not None
        assert spec.zero_points is not None
        return float(np.float32(spec.scales[0])), int(spec.zero_points[0])

    def activation(self, shape: tuple[int, ...], scale: float, zero_point: int, signature: bool = False) -> int:
        tensor = self.tensor([1, *shape], "INT8", [scale], [zero_point])
        if signature:
            self.tensors[tensor].signature = [-1, *shape]
        return tensor

    def edge(self, shape: tuple[int, ...], kind: str, quant: tuple[float, int]) -> int:
        """Add an activation of another type than int8; float32 has no scale."""
        steps = ([quant[0]], [quant[1]]) if kind == "UINT8" else (None, None)
        return self.tensor([1, *shape], kind, *steps)

    def constant(
        self, data: NDArray[Any], scales: list[float] | None = None, axis: int = 0, zero_point: int = 0
    ) -> int:
        kind = next(name for name, dtype in DTYPES.items() if dtype == data.dtype)
        self.buffers.append(Table("Buffer", Data=np.frombuffer(data.tobytes(), dtype=np.uint8)))
        zero_points = [zero_point] * len(scales) if scales else None
        return self.tensor(list(data.shape), kind, scales, zero_points, axis, len(self.buffers) - 1)

    def tensor(
        self,
        shape: list[int],
        kind: str,
        scales: list[float] | None = None,
        zero_points: list[int] | None = None,
        axis: int = 0,
        buffer: int = 0,
    ) -> int:
        self.tensors.append(TensorSpec(shape, kind, scales, zero_points, axis, buffer, f"t{len(self.tensors)}"))
        return len(self.tensors) - 1

    def op(self, name: str, inputs: list[int], outputs: int | list[int], options: Table | None = None) -> int:
        """Any op; returns its first output, or -1 if it has none."""
        code = name if name.startswith("CUSTOM ") else getattr(tflite.BuiltinOperator, name)
        if code not in self.codes:
            self.codes.append(code)
        results = outputs if isinstance(outputs, list) else [outputs]
        operator = Table("Operator", OpcodeIndex=self.codes.index(code), Inputs=ints(inputs), Outputs=ints(results))
        if options is not None:
            operator.fields |= {
                "BuiltinOptionsType": getattr(tflite.BuiltinOptions, options.name),
                "BuiltinOptions": options,
            }
        self.operators.append(operator)
        return results[0] if results else -1

    def _code(self, code: int | str) -> Table:
        if isinstance(code, str):
            number, custom = tflite.BuiltinOperator.CUSTOM, code.removeprefix("CUSTOM ")
            return Table("OperatorCode", BuiltinCode=number, DeprecatedBuiltinCode=number, CustomCode=custom, Version=1)
        narrow = {"DeprecatedBuiltinCode": min(code, 127)} if self.narrow_codes else {}
        return Table("OperatorCode", BuiltinCode=code, **narrow, Version=1)

    def build(self, *outputs: int) -> bytes:
        subgraphs = [self.subgraph(outputs), *self.further_subgraphs()]
        codes = [self._code(code) for code in self.codes]
        model = Table("Model", Version=3, OperatorCodes=codes, Subgraphs=subgraphs, Buffers=self.buffers)
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.write(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def subgraph(self, outputs: Sequence[int]) -> Table:
        return Table(
            "SubGraph",
            Tensors=[tensor.table() for tensor in self.tensors],
            Inputs=ints(self.inputs),
            Outputs=ints(outputs),
            Operators=self.operators,
        )

    def further_subgraphs(self) -> list[Table]:
        """Those behind the first one."""
        return []
