"""The tensors of a file as the readers of ops see them: activations and constants, all checked."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.arithmetic import fixed_point
from tritguard.graph.flatbuffer import DTYPES, RawModel, RawOp, RawTensor
from tritguard.graph.model import Float64, Int8, Int32, State, Tensor


class Reader:
    """A file that is being read; every activation that an op names is registered in `tensors`.

    Attributes:
        unscaled: the activations without a scale in the file. Their steps count as 1.0, and only copies may read them.
    """

    def __init__(self, raw: RawModel) -> None:
        self.raw = raw
        self.tensors: dict[int, Tensor] = {}
        self.states: list[State] = []
        self.unscaled: set[int] = set()

    def tensor(self, raw: RawOp, position: int) -> RawTensor:
        """The op's input at a position."""
        return self.raw.tensors[raw.input(position)]

    def activation(self, index: int, where: str) -> Tensor:
        """An activation of int8 or int16, registered in the graph."""
        if index in self.tensors:
            return self.tensors[index]
        raw = self.raw.tensors[index] if index >= 0 else None
        if raw is None:
            raise BadModelError("an activation is missing", where=where)
        if raw.type not in ("INT8", "INT16"):
            raise BadModelError(
                f"tensor {raw.index} is {raw.type}, not INT8",
                where=where,
                fix="convert the model with full int8 quantization",
            )
        if raw.data is not None:
            raise UnsupportedOpError(f"tensor {raw.index} is a constant where an activation is expected", where=where)
        if not raw.scales and not raw.zero_points:  # TFLM only copies such a tensor, as `_check_scales` ensures
            self.unscaled.add(raw.index)
            raw = replace(raw, scales=(1.0,), zero_points=(0,))
        if len(raw.scales) != 1 or len(raw.zero_points) != 1 or raw.scales[0] == 0:
            raise BadModelError(f"tensor {raw.index} lacks a scale and zero point", where=where)
        if raw.type == "INT16" and raw.zero_points[0]:
            what = f"tensor {raw.index} is INT16 with zero point {raw.zero_points[0]}, 0 is supported"
            raise BadModelError(what, where=where)
        if not fixed_point.INT8_MIN <= raw.zero_points[0] <= fixed_point.INT8_MAX:
            raise BadModelError(f"tensor {raw.index} has zero point {raw.zero_points[0]}", where=where)
        if math.prod(raw.shape) == 0:
            raise UnsupportedOpError(f"tensor {raw.index} has shape {list(raw.shape)}, which is empty", where=where)
        return self._registered(
            raw.index, raw.name, raw.shape, raw.scales[0], raw.zero_points[0], DTYPES[raw.type].itemsize
        )

    def kept(self, raw: RawOp, position: int, kind: str, size: int) -> Tensor:
        """A state of `size` elements that the op changes in place, registered as its bytes.

        It begins at its zero point, as variable tensors do in TFLM.
        """
        tensor = self.tensor(raw, position)
        if tensor.type != kind or not tensor.is_variable or math.prod(tensor.shape) != size:
            what = f"input {position} is {tensor.type}{list(tensor.shape)}, a variable {kind} of {size} elements"
            raise UnsupportedOpError(f"{what} is supported", where=raw.describe())
        if len(tensor.scales) != 1 or len(tensor.zero_points) != 1 or not tensor.scales[0]:
            raise BadModelError(f"tensor {tensor.index} lacks a scale and zero point", where=raw.describe())
        if tensor.index in self.tensors:
            raise UnsupportedOpError(f"state {tensor.index} of several ops", where=raw.describe())
        scale, zero_point = tensor.scales[0], tensor.zero_points[0]
        if not fixed_point.INT8_MIN <= zero_point <= fixed_point.INT8_MAX or (kind != "INT8" and zero_point):
            raise UnsupportedOpError(f"a state with zero point {zero_point}", where=raw.describe())
        bytes_ = size * DTYPES[kind].itemsize
        initial = np.full(bytes_, zero_point, dtype=np.int8)
        self.states.append(State(name=tensor.name, before=tensor.index, after=tensor.index, initial=initial))
        return self._registered(tensor.index, tensor.name, (bytes_,), scale, zero_point)

    def between(self, like: Tensor, dims: tuple[int, ...]) -> Tensor:
        """A tensor that the file does not have, such as one between two ops that one op of the file becomes."""
        index = max(len(self.raw.tensors), *(known + 1 for known in self.tensors))
        return self._registered(index, like.name, dims, like.scale, like.zero_point, like.width)

    def _registered(
        self, index: int, name: str, dims: tuple[int, ...], scale: float, zero_point: int, width: int = 1
    ) -> Tensor:
        batched = len(dims) > 1 and dims[0] == 1
        shape = dims[1:] if batched else dims or (1,)
        kind = "INT8" if width == 1 else "INT16"
        self.tensors[index] = Tensor(
            index, name, shape, scale, zero_point, golden_type=kind, batched=batched, width=width
        )
        return self.tensors[index]

    def has_wide(self, raw: RawOp) -> bool:
        """Whether one of the op's activations has 16 bits; the states that an op keeps do not count."""
        known = [self.raw.tensors[index] for index in (*raw.inputs, *raw.outputs) if index >= 0]
        return any(each.type == "INT16" and each.data is None and not each.is_variable for each in known)

    def in_out(self, raw: RawOp) -> tuple[Tensor, Tensor]:
        """The first input and the only output, both activations."""
        return self.activation(self.tensor(raw, 0).index, raw.describe()), self.output(raw)

    def output(self, raw: RawOp) -> Tensor:
        """The only output, an activation."""
        if len(raw.outputs) != 1:
            raise BadModelError(f"{len(raw.outputs)} outputs instead of one", where=raw.describe())
        return self.activation(raw.outputs[0], raw.describe())

    def integers(self, raw: RawOp, position: int) -> list[int]:
        """The values of a constant vector, or of a single constant, of int32."""
        data = self.constant(raw, position, "INT32").data
        assert data is not None
        return [int(value) for value in data.ravel()]

    def constant(self, raw: RawOp, position: int, kind: str) -> RawTensor:
        """A constant input of a given type."""
        tensor = self.tensor(raw, position)
        if tensor.type != kind or tensor.data is None:
            state = "no constant" if tensor.data is None else tensor.type
            raise UnsupportedOpError(
                f"input {position} is {state}, a constant {kind} is supported", where=raw.describe()
            )
        return tensor

    def weights(self, raw: RawOp, channel_axis: int, channels: int) -> tuple[Int8, Float64]:
        """The int8 weights and their float64[channels] scales, of which the file holds one or one per channel."""
        tensor = self.constant(raw, 1, "INT8")
        per_channel = len(tensor.scales) > 1
        if len(tensor.scales) != channels and len(tensor.scales) != 1:
            raise BadModelError(f"{len(tensor.scales)} weight scales for {channels} channels", where=raw.describe())
        if per_channel and tensor.quantized_dimension != channel_axis:
            raise UnsupportedOpError(
                f"weights quantized along axis {tensor.quantized_dimension}, {channel_axis} is supported",
                where=raw.describe(),
            )
        if any(tensor.zero_points):
            raise UnsupportedOpError("weights with a zero point, symmetric ones are supported", where=raw.describe())
        assert tensor.data is not None
        return np.asarray(tensor.data, dtype=np.int8), np.broadcast_to(
            np.array(tensor.scales, dtype=np.float64), channels
        )

    def bias(self, raw: RawOp, channels: int) -> Int32:
        """int32[channels], the bias; zeros if the file has none."""
        if len(raw.inputs) < 3 or raw.inputs[2] < 0:
            return np.zeros(channels, dtype=np.int32)
        data = self.constant(raw, 2, "INT32").data
        if data is None or data.shape != (channels,):
            raise BadModelError(f"bias does not match {channels} channels", where=raw.describe())
        return np.asarray(data, dtype=np.int32)
