"""From ops to what the templates print: constant arrays, a parameter struct and a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tritguard.errors import UnsupportedOpError
from tritguard.graph.memory import MemoryPlan, Slot
from tritguard.graph.model import (
    Add,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    Mean,
    Op,
    Pad,
    Pool2D,
    Quantize,
    Requant,
    Reshape,
    Softmax,
    Tensor,
    Weighted,
    Window,
)
from tritguard.graph.ternary import TernaryWeights, ternary_weights

Fields = Mapping[str, "int | str | Fields"]
_C_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int32": "int32_t", "uint32": "uint32_t"}


@dataclass(frozen=True)
class Array:
    """A constant C array."""

    name: str
    values: NDArray[Any]  # one-dimensional

    @property
    def type(self) -> str:
        """The C type of an element."""
        return _C_TYPES[self.values.dtype.name]


@dataclass(frozen=True)
class Struct:
    """A constant parameter struct."""

    type: str
    fields: Fields


@dataclass(frozen=True)
class LayerCode:
    """One op as C."""

    position: int
    index: int
    op: str
    name: str
    shape: tuple[int, ...]
    macs: int
    weight_format: Literal["none", "int8", "ternary2"] = "none"
    weight_bytes: int = 0
    arrays: tuple[Array, ...] = ()
    struct: Struct | None = None
    call: str | None = None
    kernel: str | None = field(default=None)

    @property
    def symbol(self) -> str:
        """Prefix of the layer's C symbols."""
        return f"tg_l{self.index}"


@dataclass(frozen=True)
class _Context:
    graph: Graph
    plan: MemoryPlan
    logits: int | None  # position of the layer that gives them

    def source(self, op: Op, which: int = 0) -> Tensor:
        return self.graph.tensors[op.inputs[which]]

    def sink(self, op: Op) -> Tensor:
        return self.graph.tensors[op.output]

    def place(self, tensor: int) -> str:
        slot = self.plan.place(tensor)
        if isinstance(slot, Slot):
            return f"tg_arena + {slot.offset}" if slot.offset else "tg_arena"
        return slot


def layer_codes(graph: Graph, plan: MemoryPlan) -> tuple[LayerCode, ...]:
    """Every op of a planned graph as C, in order of execution.

    Raises:
        UnsupportedOpError: a sum that could leave 32 bits on the device.
    """
    context = _Context(graph, plan, graph.logits_position())
    return tuple(_EMITTERS[type(op)](context, position, op) for position, op in enumerate(graph.ops))


def _base(context: _Context, position: int, op: Op) -> dict[str, Any]:
    sink = context.sink(op)
    return {
        "position": position,
        "index": op.index,
        "op": op.kind,
        "name": sink.name.split(";")[-1],
        "shape": sink.shape,
        "macs": op.macs,
    }


def _call(context: _Context, op: Op, kernel: str, *extra: str) -> dict[str, Any]:
    places = [context.place(tensor) for tensor in (*op.inputs, op.output)]
    arguments = ", ".join([f"&tg_l{op.index}_params", *places, *extra])
    return {"kernel": kernel, "call": f"{kernel}({arguments})"}


def _window(window: Window, source: tuple[int, int, int], sink: tuple[int, int, int]) -> Fields:
    values: dict[str, int] = {}
    for letter, inside, outside in zip("hwc", source, sink, strict=True):
        values |= {f"in_{letter}": inside, f"out_{letter}": outside}
    pairs = {"kernel": window.kernel, "stride": window.stride, "dilation": window.dilation}
    for name, (vertical, horizontal) in pairs.items():
        values |= {f"{name}_h": vertical, f"{name}_w": horizontal}
    return values | {"pad_top": window.padding[0], "pad_left": window.padding[1]}


def _scale(requant: Requant) -> Fields:
    return {"multiplier": int(requant.multiplier[0]), "shift": int(requant.shift[0])}


def _check_sums(op: Weighted) -> None:
    """Products are at most 255 * |w|: their sum must stay in 32 bits whatever the input (bias may wrap, as in TFLM)."""
    others = tuple(axis for axis in range(op.weights.ndim) if axis != op.channel_axis)
    if 255 * int(np.abs(op.weights.astype(np.int64)).sum(axis=others).max()) >= 1 << 31:
        raise UnsupportedOpError("so many weights a channel that 32-bit sums could overflow", where=f"op {op.index}")


def _weighted(
    context: _Context, position: int, op: Weighted, kernel: str, struct: str, geometry: dict[str, Any]
) -> LayerCode:
    _check_sums(op)
    packed: TernaryWeights | None = ternary_weights(op)
    symbol = f"tg_l{op.index}"
    if packed is None:
        arrays = [Array("weights", op.weights.ravel())]
        weights: dict[str, Any] = {"weights": f"{symbol}_weights"}
    else:
        arrays = [Array("trits", packed.words), Array("magnitude", packed.magnitude)]
        weights = {"trits": f"{symbol}_trits", "magnitude": f"{symbol}_magnitude"}
    weight_bytes = sum(array.values.nbytes for array in arrays)
    arrays += [
        Array("bias", op.bias),
        Array("multiplier", op.requant.multiplier),
        Array("shift", op.requant.shift.astype(np.int8)),
    ]
    fields = {
        **geometry,
        "layer": {
            **weights,
            "bias": f"{symbol}_bias",
            "in_zero_point": op.input_zero_point,
            "requant": {
                "multiplier": f"{symbol}_multiplier",
                "shift": f"{symbol}_shift",
                "zero_point": op.requant.zero_point,
                "act_min": op.requant.act_min,
                "act_max": op.requant.act_max,
            },
        },
    }
    accumulators = "logits" if position == context.logits else "NULL"
    return LayerCode(
        **_base(context, position, op),
        weight_format="int8" if packed is None else "ternary2",
        weight_bytes=weight_bytes,
        arrays=tuple(arrays),
        struct=Struct(struct, fields),
        **_call(context, op, f"{kernel}_{'int8' if packed is None else 'ternary'}", accumulators),
    )


def _image(tensor: Tensor) -> tuple[int, int, int]:
    height, width, channels = tensor.shape
    return height, width, channels


def _conv(context: _Context, position: int, op: Conv2D) -> LayerCode:
    geometry = {"window": _window(op.window, _image(context.source(op)), op.out_shape)}
    return _weighted(context, position, op, "tg_conv2d", "tg_conv2d_t", geometry)


def _fully_connected(context: _Context, position: int, op: FullyConnected) -> LayerCode:
    """A 1x1 convolution over a 1 x rows image: the same sums in the same order."""
    units, depth = op.weights.shape
    window = Window((1, 1), (1, 1), (1, 1), (0, 0))
    geometry = {"window": _window(window, (1, op.rows, depth), (1, op.rows, units))}
    return _weighted(context, position, op, "tg_conv2d", "tg_conv2d_t", geometry)


def _depthwise(context: _Context, position: int, op: DepthwiseConv2D) -> LayerCode:
    geometry = {
        "window": _window(op.window, _image(context.source(op)), op.out_shape),
        "depth_multiplier": op.depth_multiplier,
    }
    return _weighted(context, position, op, "tg_depthwise", "tg_depthwise_t", geometry)


def _simple(context: _Context, position: int, op: Op, kernel: str, struct: str, fields: Fields) -> LayerCode:
    return LayerCode(**_base(context, position, op), struct=Struct(struct, fields), **_call(context, op, kernel))


def _add(context: _Context, position: int, op: Add) -> LayerCode:
    fields: Fields = {
        "size": context.sink(op).size,
        "zero_point_a": op.input_zero_points[0],
        "zero_point_b": op.input_zero_points[1],
        "scale_a": _scale(op.input_requants[0]),
        "scale_b": _scale(op.input_requants[1]),
        "scale_out": _scale(op.requant),
        "out_zero_point": op.requant.zero_point,
        "act_min": op.requant.act_min,
        "act_max": op.requant.act_max,
    }
    return _simple(context, position, op, "tg_add", "tg_add_t", fields)


def _pool(context: _Context, position: int, op: Pool2D) -> LayerCode:
    fields: Fields = {
        "window": _window(op.window, _image(context.source(op)), op.out_shape),
        "act_min": op.act_min,
        "act_max": op.act_max,
    }
    return _simple(context, position, op, f"tg_{op.mode}_pool", "tg_pool_t", fields)


def _mean(context: _Context, position: int, op: Mean) -> LayerCode:
    fields: Fields = {
        "positions": op.positions,
        "channels": context.sink(op).size,
        "in_zero_point": op.input_zero_point,
        "scale": _scale(op.requant),
        "out_zero_point": op.requant.zero_point,
    }
    return _simple(context, position, op, "tg_mean", "tg_mean_t", fields)


def _softmax(context: _Context, position: int, op: Softmax) -> LayerCode:
    fields: Fields = {
        "rows": op.rows,
        "depth": context.sink(op).size // op.rows,
        "multiplier": op.multiplier,
        "left_shift": op.left_shift,
        "diff_min": op.diff_min,
    }
    return _simple(context, position, op, "tg_softmax", "tg_softmax_t", fields)


def _pad(context: _Context, position: int, op: Pad) -> LayerCode:
    fields: dict[str, int] = {"value": op.value}
    for letter, inside, outside, before in zip(
        "hwc", context.source(op).shape, context.sink(op).shape, op.before, strict=True
    ):
        fields |= {f"in_{letter}": inside, f"out_{letter}": outside, f"before_{letter}": before}
    return _simple(context, position, op, "tg_pad", "tg_pad_t", fields)


def _quantize(context: _Context, position: int, op: Quantize) -> LayerCode:
    fields: Fields = {
        "size": context.sink(op).size,
        "in_zero_point": op.input_zero_point,
        "scale": _scale(op.requant),
        "out_zero_point": op.requant.zero_point,
    }
    return _simple(context, position, op, "tg_requantize", "tg_requantize_t", fields)


def _reshape(context: _Context, position: int, op: Reshape) -> LayerCode:
    """No code where both names stand for one place; a copy from the caller's input to its output."""
    source, sink = context.place(op.inputs[0]), context.place(op.output)
    call = None if source == sink else f"(void)memcpy({sink}, {source}, {context.sink(op).size})"
    return LayerCode(**_base(context, position, op), call=call)


_EMITTERS: dict[type[Op], Callable[[_Context, int, Any], LayerCode]] = {
    Conv2D: _conv,
    DepthwiseConv2D: _depthwise,
    FullyConnected: _fully_connected,
    Add: _add,
    Pool2D: _pool,
    Mean: _mean,
    Softmax: _softmax,
    Pad: _pad,
    Quantize: _quantize,
    Reshape: _reshape,
}
