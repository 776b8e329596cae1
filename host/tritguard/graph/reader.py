"""From the container's records to the typed graph: one small function an op, each checking all it relies on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tflite

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph import fixed_point
from tritguard.graph.flatbuffer import RawModel, RawOp, RawTensor, parse, reading
from tritguard.graph.model import (
    Add,
    Conv2D,
    DepthwiseConv2D,
    Float64,
    FullyConnected,
    Graph,
    Int8,
    Int32,
    Mean,
    Op,
    Pad,
    Pool2D,
    Quantize,
    Requant,
    Reshape,
    Softmax,
    Tensor,
    Window,
)

_ACTIVATIONS = {0: "NONE", 1: "RELU", 3: "RELU6"}
_SHORTEST_SIDE, _LONGEST_SIDE = 1, 32767
_SOFTMAX_DEPTH = 4095  # the sum of exponentials has 12 integer bits


def read_graph(content: bytes) -> Graph:
    """Read an int8 `.tflite` into a typed graph.

    Args:
        content: the file's bytes.

    Raises:
        BadModelError: not a sound, fully int8 model with one input and one output.
        UnsupportedOpError: an op, or an option of one, that the engine lacks; names it, its index and what there is.
    """
    raw = parse(content)
    with reading():
        return _Reader(raw).graph()


class _Reader:
    def __init__(self, raw: RawModel) -> None:
        self.raw = raw
        self.tensors: dict[int, Tensor] = {}

    def graph(self) -> Graph:
        source, sink = self._edge(self.raw.inputs, "input"), self._edge(self.raw.outputs, "output")
        ops = []
        for raw in self._needed(sink):
            builder = _BUILDERS.get(raw.name)
            if builder is None:
                raise UnsupportedOpError(
                    f"not supported; supported are {', '.join(SUPPORTED_OPS)}", where=raw.describe()
                )
            if len(raw.outputs) != 1:
                raise BadModelError(f"{len(raw.outputs)} outputs instead of one", where=raw.describe())
            ops.append(builder(self, raw))
        graph = Graph(self.tensors, tuple(ops), source, sink)
        self._check_order(graph)
        return graph

    def _edge(self, indices: tuple[int, ...], what: str) -> int:
        if len(indices) != 1:
            raise UnsupportedOpError(f"{len(indices)} {what}s, one is supported", where="the graph")
        return self.activation(indices[0], f"the graph's {what}").index

    def _needed(self, sink: int) -> list[RawOp]:
        """Ops the output depends on through data. What only computes a reshape's target is left out: the shape
        the converter stored is used, as TFLM does."""
        producers = {output: op for op in self.raw.ops for output in op.outputs}
        needed: set[int] = set()
        stack = [sink]
        while stack:
            op = producers.get(stack.pop())
            if op is None or op.index in needed:
                continue
            needed.add(op.index)
            stack += op.inputs[:1] if op.name == "RESHAPE" else op.inputs
        return [op for op in self.raw.ops if op.index in needed]

    def _check_order(self, graph: Graph) -> None:
        if not graph.ops:
            raise BadModelError("the model has no ops")
        known = {graph.input}
        for op in graph.ops:
            if any(tensor not in known for tensor in op.inputs) or op.output in known:
                raise BadModelError("damaged file (an op runs before its input exists)", where=f"op {op.index}")
            known.add(op.output)
        if graph.output not in known:
            raise BadModelError("damaged file (nothing computes the output)")

    def tensor(self, raw: RawOp, position: int) -> RawTensor:
        """The op's input at a position."""
        index = raw.inputs[position] if position < len(raw.inputs) else -1
        if index < 0:
            raise BadModelError(f"input {position} is missing", where=raw.describe())
        return self.raw.tensors[index]

    def activation(self, index: int, where: str) -> Tensor:
        """An int8 activation with batch 1, registered in the graph."""
        if index in self.tensors:
            return self.tensors[index]
        raw = self.raw.tensors[index] if index >= 0 else None
        if raw is None:
            raise BadModelError("an activation is missing", where=where)
        if raw.type != "INT8":
            raise BadModelError(
                f"tensor {raw.index} is {raw.type}, not INT8",
                where=where,
                fix="convert the model with full int8 quantization",
            )
        if raw.data is not None:
            raise UnsupportedOpError(f"tensor {raw.index} is a constant where an activation is expected", where=where)
        if len(raw.scales) != 1 or len(raw.zero_points) != 1 or raw.scales[0] == 0:
            raise BadModelError(f"tensor {raw.index} lacks a scale and zero point", where=where)
        if not fixed_point.INT8_MIN <= raw.zero_points[0] <= fixed_point.INT8_MAX:
            raise BadModelError(f"tensor {raw.index} has zero point {raw.zero_points[0]}", where=where)
        if not raw.shape or raw.shape[0] != 1 or math.prod(raw.shape) == 0:
            raise UnsupportedOpError(
                f"tensor {raw.index} has shape {list(raw.shape)}, a batch of 1 is supported", where=where
            )
        tensor = Tensor(raw.index, raw.name, raw.shape[1:], raw.scales[0], raw.zero_points[0])
        self.tensors[index] = tensor
        return tensor

    def in_out(self, raw: RawOp) -> tuple[Tensor, Tensor]:
        """First input and the output, both activations."""
        where = raw.describe()
        return self.activation(self.tensor(raw, 0).index, where), self.activation(raw.outputs[0], where)

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
        """int8 weights and float64[channels] scales, which the file gives per channel or once."""
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
        """int32[channels]; zeros where the file has none."""
        if len(raw.inputs) < 3 or raw.inputs[2] < 0:
            return np.zeros(channels, dtype=np.int32)
        data = self.constant(raw, 2, "INT32").data
        if data is None or data.shape != (channels,):
            raise BadModelError(f"bias does not match {channels} channels", where=raw.describe())
        return np.asarray(data, dtype=np.int32)


def _image(tensor: Tensor, raw: RawOp) -> tuple[int, int, int]:
    if len(tensor.shape) != 3 or not all(_SHORTEST_SIDE <= side <= _LONGEST_SIDE for side in tensor.shape):
        raise UnsupportedOpError(
            f"tensor {tensor.index} has shape {list(tensor.shape)}, height x width x channels is supported",
            where=raw.describe(),
        )
    height, width, channels = tensor.shape
    return height, width, channels


def _options(raw: RawOp, kind: Any) -> Any:
    if raw.options is None or raw.options_type != getattr(tflite.BuiltinOptions, kind.__name__):
        raise BadModelError("options are missing or of another op", where=raw.describe())
    options = kind()
    options.Init(raw.options.Bytes, raw.options.Pos)
    return options


def _clamp(raw: RawOp, options: Any, output: Tensor) -> tuple[int, int]:
    number = options.FusedActivationFunction()
    if number not in _ACTIVATIONS:
        raise UnsupportedOpError(
            f"fused activation {number}, supported are {', '.join(_ACTIVATIONS.values())}", where=raw.describe()
        )
    return fixed_point.activation_range(_ACTIVATIONS[number], output.scale, output.zero_point)


def _window(
    raw: RawOp,
    options: Any,
    kernel: tuple[int, int],
    dilation: tuple[int, int],
    size: tuple[int, int],
    out: tuple[int, int],
) -> Window:
    """Check the output's height and width against the window and compute the padding (TFLite's SAME rule)."""
    stride = (options.StrideH(), options.StrideW())
    if min(*stride, *dilation, *kernel) < 1 or max(*stride, *dilation, *kernel) > _LONGEST_SIDE:
        raise BadModelError(f"stride {stride}, dilation {dilation}, kernel {kernel}", where=raw.describe())
    same = options.Padding() == tflite.Padding.SAME
    padding = []
    for axis in range(2):
        reach = (kernel[axis] - 1) * dilation[axis] + 1
        expected = -(-size[axis] // stride[axis]) if same else -(-(size[axis] - reach + 1) // stride[axis])
        if out[axis] != expected:
            raise BadModelError(
                f"output side {out[axis]} where {expected} follows from the input", where=raw.describe()
            )
        padding.append(max(0, ((expected - 1) * stride[axis] + reach - size[axis])) // 2 if same else 0)
    return Window(kernel, stride, dilation, (padding[0], padding[1]))


def _convolution_window(
    raw: RawOp, options: Any, kernel: tuple[int, int], source: Tensor, out: tuple[int, int, int]
) -> Window:
    height, width, _ = source.shape
    dilation = (options.DilationHFactor(), options.DilationWFactor())
    return _window(raw, options, kernel, dilation, (height, width), out[:2])


def _weighted(reader: _Reader, raw: RawOp, weights: Int8, scales: Float64, clamp: tuple[int, int]) -> dict[str, Any]:
    """Fields of an op with weights; factors multiplied in double as `PopulateConvolutionQuantizationParams` does."""
    source, output = reader.in_out(raw)
    return {
        "index": raw.index,
        "inputs": (source.index,),
        "output": output.index,
        "weights": weights,
        "weight_scale": scales,
        "bias": reader.bias(raw, len(scales)),
        "input_zero_point": source.zero_point,
        "requant": fixed_point.requant(source.scale * scales / output.scale, output.zero_point, clamp),
    }


def _conv(reader: _Reader, raw: RawOp) -> Op:
    source, output = reader.in_out(raw)
    depth = _image(source, raw)[2]
    out_shape = _image(output, raw)
    options = _options(raw, tflite.Conv2DOptions)
    weights, scales = reader.weights(raw, 0, out_shape[2])
    if weights.ndim != 4 or weights.shape[0] != out_shape[2]:
        raise BadModelError(f"weights {list(weights.shape)} for output {list(out_shape)}", where=raw.describe())
    if weights.shape[3] != depth:
        raise UnsupportedOpError(
            f"weights for {weights.shape[3]} of {depth} channels: grouped convolution", where=raw.describe()
        )
    return Conv2D(
        **_weighted(reader, raw, weights, scales, _clamp(raw, options, output)),
        window=_convolution_window(raw, options, (weights.shape[1], weights.shape[2]), source, out_shape),
        out_shape=out_shape,
    )


def _depthwise(reader: _Reader, raw: RawOp) -> Op:
    source, output = reader.in_out(raw)
    depth = _image(source, raw)[2]
    out_shape = _image(output, raw)
    options = _options(raw, tflite.DepthwiseConv2DOptions)
    weights, scales = reader.weights(raw, 3, out_shape[2])
    if (
        weights.ndim != 4
        or weights.shape[0] != 1
        or weights.shape[3] != out_shape[2]
        or options.DepthMultiplier() * depth != out_shape[2]
    ):
        raise BadModelError(f"weights {list(weights.shape)} for output {list(out_shape)}", where=raw.describe())
    return DepthwiseConv2D(
        **_weighted(reader, raw, weights[0], scales, _clamp(raw, options, output)),
        window=_convolution_window(raw, options, (weights.shape[1], weights.shape[2]), source, out_shape),
        depth_multiplier=out_shape[2] // depth,
        out_shape=out_shape,
    )


def _fully_connected(reader: _Reader, raw: RawOp) -> Op:
    source, output = reader.in_out(raw)
    options = _options(raw, tflite.FullyConnectedOptions)
    if options.WeightsFormat() != tflite.FullyConnectedOptionsWeightsFormat.DEFAULT:
        raise UnsupportedOpError("shuffled weights, the default format is supported", where=raw.describe())
    raw_weights = reader.constant(raw, 1, "INT8")
    if len(raw_weights.shape) != 2:
        raise BadModelError(f"weights {list(raw_weights.shape)}", where=raw.describe())
    units, depth = raw_weights.shape
    if (
        not output.shape
        or output.shape[-1] != units
        or source.size % depth
        or source.size // depth * units != output.size
    ):
        raise BadModelError(
            f"weights {units} x {depth} between {list(source.shape)} and {list(output.shape)}", where=raw.describe()
        )
    weights, scales = reader.weights(raw, 0, units)
    fields = _weighted(reader, raw, weights, scales, clamp := _clamp(raw, options, output))
    if len(raw_weights.scales) == 1:
        # `GetQuantizedConvolutionMultipler` multiplies the two scales in float32 before it widens them.
        product = float(np.float32(source.scale) * np.float32(raw_weights.scales[0]))
        fields["requant"] = fixed_point.requant(np.full(units, product / output.scale), output.zero_point, clamp)
    return FullyConnected(**fields, rows=source.size // depth)


def _add(reader: _Reader, raw: RawOp) -> Op:
    first, output = reader.in_out(raw)
    second = reader.activation(reader.tensor(raw, 1).index, raw.describe())
    if not first.shape == second.shape == output.shape:
        raise UnsupportedOpError(
            f"shapes {list(first.shape)} and {list(second.shape)}, equal ones are supported", where=raw.describe()
        )
    twice_max = 2 * max(first.scale, second.scale)
    whole = (fixed_point.INT8_MIN, fixed_point.INT8_MAX)
    clamp = _clamp(raw, _options(raw, tflite.AddOptions), output)
    factor = twice_max / ((1 << Add.left_shift) * output.scale)
    if factor >= 1:
        raise BadModelError(
            f"output scale {output.scale:.3g} is too small for the inputs' scales", where=raw.describe()
        )
    return Add(
        index=raw.index,
        inputs=(first.index, second.index),
        output=output.index,
        input_zero_points=(first.zero_point, second.zero_point),
        input_requants=(
            fixed_point.requant(np.array([first.scale / twice_max]), 0, whole),
            fixed_point.requant(np.array([second.scale / twice_max]), 0, whole),
        ),
        requant=fixed_point.requant(np.array([factor]), output.zero_point, clamp),
    )


def _pool(reader: _Reader, raw: RawOp) -> Op:
    source, output = reader.in_out(raw)
    height, width, depth = _image(source, raw)
    out_shape = _image(output, raw)
    options = _options(raw, tflite.Pool2DOptions)
    if out_shape[2] != depth:
        raise BadModelError(f"{depth} channels in, {out_shape[2]} out", where=raw.describe())
    if (source.scale, source.zero_point) != (output.scale, output.zero_point):
        raise UnsupportedOpError("input and output differ in scale", where=raw.describe())
    kernel = (options.FilterHeight(), options.FilterWidth())
    low, high = _clamp(raw, options, output)
    return Pool2D(
        index=raw.index,
        inputs=(source.index,),
        output=output.index,
        mode="average" if raw.name == "AVERAGE_POOL_2D" else "max",
        window=_window(raw, options, kernel, (1, 1), (height, width), out_shape[:2]),
        out_shape=out_shape,
        act_min=low,
        act_max=high,
    )


def _mean(reader: _Reader, raw: RawOp) -> Op:
    source, output = reader.in_out(raw)
    height, width, depth = _image(source, raw)
    axes = reader.constant(raw, 1, "INT32").data
    assert axes is not None
    if sorted(int(axis) % 4 if -4 <= axis < 4 else axis for axis in axes.ravel()) != [1, 2]:
        raise UnsupportedOpError(f"axes {axes.ravel().tolist()}, height and width are supported", where=raw.describe())
    if output.size != depth:
        raise BadModelError(f"output {list(output.shape)} for {depth} channels", where=raw.describe())
    multiplier, shift = fixed_point.mean_multiplier(source.scale / output.scale, height * width)
    return Mean(
        index=raw.index,
        inputs=(source.index,),
        output=output.index,
        positions=height * width,
        input_zero_point=source.zero_point,
        requant=Requant(
            np.array([multiplier], dtype=np.int32),
            np.array([shift], dtype=np.int32),
            output.zero_point,
            fixed_point.INT8_MIN,
            fixed_point.INT8_MAX,
        ),
    )


def _reshape(reader: _Reader, raw: RawOp) -> Op:
    source, output = reader.in_out(raw)
    if source.size != output.size:
        raise BadModelError(f"{list(source.shape)} into {list(output.shape)}", where=raw.describe())
    if (source.scale, source.zero_point) != (output.scale, output.zero_point):
        raise UnsupportedOpError("input and output differ in scale", where=raw.describe())
    return Reshape(index=raw.index, inputs=(source.index,), output=output.index)


def _softmax(reader: _Reader, raw: RawOp) -> Op:
    source, output = reader.in_out(raw)
    if source.shape != output.shape or not source.shape:
        raise BadModelError(f"{list(source.shape)} into {list(output.shape)}", where=raw.describe())
    if source.shape[-1] > _SOFTMAX_DEPTH:
        raise UnsupportedOpError(f"softmax over {source.shape[-1]}, at most {_SOFTMAX_DEPTH}", where=raw.describe())
    if output.scale != 1 / 256 or output.zero_point != fixed_point.INT8_MIN:
        raise BadModelError("output scale is not 1/256 with zero point -128", where=raw.describe())
    beta = float(_options(raw, tflite.SoftmaxOptions).Beta())
    multiplier, shift, diff_min = fixed_point.softmax_parameters(beta, source.scale)
    return Softmax(
        index=raw.index,
        inputs=(source.index,),
        output=output.index,
        rows=source.size // source.shape[-1],
        beta=beta,
        multiplier=multiplier,
        left_shift=shift,
        diff_min=diff_min,
    )


def _pad(reader: _Reader, raw: RawOp) -> Op:
    source, output = reader.in_out(raw)
    tensor = reader.constant(raw, 1, "INT32")
    assert tensor.data is not None
    _image(source, raw)
    pads = tensor.data
    if pads.shape != (4, 2) or pads[0].any() or pads.min() < 0:
        raise UnsupportedOpError(
            f"paddings {pads.tolist()}, height, width and channels are supported", where=raw.describe()
        )
    expected = tuple(int(side + sum(pad)) for side, pad in zip(source.shape, pads[1:].tolist(), strict=True))
    if output.shape != expected:
        raise BadModelError(f"output {list(output.shape)} where {list(expected)} follows", where=raw.describe())
    if (source.scale, source.zero_point) != (output.scale, output.zero_point):
        raise UnsupportedOpError("input and output differ in scale", where=raw.describe())
    before, after = pads[1:, 0].tolist(), pads[1:, 1].tolist()
    return Pad(
        index=raw.index,
        inputs=(source.index,),
        output=output.index,
        before=(before[0], before[1], before[2]),
        after=(after[0], after[1], after[2]),
        value=output.zero_point,
    )


def _quantize(reader: _Reader, raw: RawOp) -> Op:
    source, output = reader.in_out(raw)
    if source.shape != output.shape:
        raise BadModelError(f"{list(source.shape)} into {list(output.shape)}", where=raw.describe())
    whole = (fixed_point.INT8_MIN, fixed_point.INT8_MAX)
    return Quantize(
        index=raw.index,
        inputs=(source.index,),
        output=output.index,
        input_zero_point=source.zero_point,
        requant=fixed_point.requant(np.array([source.scale / output.scale]), output.zero_point, whole),
    )


_BUILDERS: dict[str, Callable[[_Reader, RawOp], Op]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _fully_connected,
    "ADD": _add,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    "MEAN": _mean,
    "RESHAPE": _reshape,
    "SOFTMAX": _softmax,
    "PAD": _pad,
    "QUANTIZE": _quantize,
}
SUPPORTED_OPS = tuple(_BUILDERS)
