"""Writes small int8 `.tflite` files op by op, so that tests choose every scale, zero point and shape themselves."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

_OPS = schema.BuiltinOperator
_OPTIONS = schema.BuiltinOptions
ACTIVATIONS = {"NONE": 0, "RELU": 1, "RELU6": 3}


class ModelBuilder:
    """A model grown from its input; every method adds one op and returns its output tensor's index."""

    def __init__(self, shape: tuple[int, ...], scale: float, zero_point: int) -> None:
        self.subgraph = schema.SubGraphT()
        self.subgraph.tensors = []
        self.subgraph.operators = []
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.input = self.activation(shape, scale, zero_point)

    def shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(self.subgraph.tensors[tensor].shape[1:])

    def quant(self, tensor: int) -> tuple[float, int]:
        q = self.subgraph.tensors[tensor].quantization
        return float(np.float32(q.scale[0])), int(q.zeroPoint[0])

    def activation(self, shape: tuple[int, ...], scale: float, zero_point: int, signature: bool = False) -> int:
        tensor = self._tensor([1, *shape], schema.TensorType.INT8, [scale], [zero_point], 0, 0)
        if signature:
            self.subgraph.tensors[tensor].shapeSignature = [-1, *shape]
        return tensor

    def constant(
        self, data: NDArray[Any], scales: list[float] | None = None, axis: int = 0, zero_point: int = 0
    ) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(data.tobytes(), dtype=np.uint8)
        self.model.buffers.append(buffer)
        kind = {"int8": schema.TensorType.INT8, "int32": schema.TensorType.INT32}[data.dtype.name]
        zero_points = [zero_point] * len(scales) if scales else None
        return self._tensor(list(data.shape), kind, scales, zero_points, axis, len(self.model.buffers) - 1)

    def _tensor(
        self,
        shape: list[int],
        kind: int,
        scales: list[float] | None,
        zero_points: list[int] | None,
        axis: int,
        buffer: int,
    ) -> int:
        tensor = schema.TensorT()
        tensor.shape = shape
        tensor.type = kind
        tensor.buffer = buffer
        tensor.name = f"t{len(self.subgraph.tensors)}"
        if scales is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = scales
            tensor.quantization.zeroPoint = zero_points
            tensor.quantization.quantizedDimension = axis
        self.subgraph.tensors.append(tensor)
        return len(self.subgraph.tensors) - 1

    def op(self, name: str, inputs: list[int], output: int, options: Any = None, options_type: int = 0) -> int:
        code = getattr(_OPS, name)
        known = [entry.builtinCode for entry in self.model.operatorCodes]
        if code not in known:
            entry = schema.OperatorCodeT()
            entry.builtinCode = code
            entry.deprecatedBuiltinCode = min(code, 127)
            entry.version = 1
            self.model.operatorCodes.append(entry)
            known.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = known.index(code)
        operator.inputs = inputs
        operator.outputs = [output]
        operator.builtinOptions = options
        operator.builtinOptionsType = options_type
        self.subgraph.operators.append(operator)
        return output

    def build(self, output: int) -> bytes:
        self.subgraph.inputs = [self.input]
        self.subgraph.outputs = [output]
        self.model.subgraphs = [self.subgraph]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    # --- ops ------------------------------------------------------------------------------------------------------

    def conv(
        self, source: int, weights: NDArray[np.int8], weight_scales: list[float], bias: NDArray[np.int32] | None,
        out: tuple[float, int], *, stride: tuple[int, int] = (1, 1), dilation: tuple[int, int] = (1, 1),
        same: bool = True, activation: str = "NONE",
    ) -> int:  # fmt: skip
        options = schema.Conv2DOptionsT()
        self._sliding(options, stride, dilation, same, activation)
        height, width = self._out_sides(source, weights.shape[1:3], stride, dilation, same)
        return self._weighted(
            "CONV_2D", source, weights, weight_scales, 0, bias, (height, width, weights.shape[0]), out, options,
            _OPTIONS.Conv2DOptions,
        )  # fmt: skip

    def depthwise(
        self, source: int, weights: NDArray[np.int8], weight_scales: list[float], bias: NDArray[np.int32] | None,
        out: tuple[float, int], *, stride: tuple[int, int] = (1, 1), dilation: tuple[int, int] = (1, 1),
        same: bool = True, activation: str = "NONE",
    ) -> int:  # fmt: skip
        options = schema.DepthwiseConv2DOptionsT()
        self._sliding(options, stride, dilation, same, activation)
        options.depthMultiplier = weights.shape[2] // self.shape(source)[2]
        height, width = self._out_sides(source, weights.shape[:2], stride, dilation, same)
        return self._weighted(
            "DEPTHWISE_CONV_2D", source, weights[None], weight_scales, 3, bias, (height, width, weights.shape[2]), out,
            options, _OPTIONS.DepthwiseConv2DOptions,
        )  # fmt: skip

    def dense(
        self, source: int, weights: NDArray[np.int8], weight_scales: list[float], bias: NDArray[np.int32] | None,
        out: tuple[float, int], activation: str = "NONE",
    ) -> int:  # fmt: skip
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = ACTIVATIONS[activation]
        return self._weighted(
            "FULLY_CONNECTED", source, weights, weight_scales, 0, bias, (weights.shape[0],), out, options,
            _OPTIONS.FullyConnectedOptions,
        )  # fmt: skip

    def add(self, first: int, second: int, out: tuple[float, int], activation: str = "NONE") -> int:
        options = schema.AddOptionsT()
        options.fusedActivationFunction = ACTIVATIONS[activation]
        output = self.activation(self.shape(first), *out)
        return self.op("ADD", [first, second], output, options, _OPTIONS.AddOptions)

    def pool(
        self, source: int, kind: str, kernel: tuple[int, int], stride: tuple[int, int], same: bool, activation: str
    ) -> int:
        options = schema.Pool2DOptionsT()
        options.filterHeight, options.filterWidth = kernel
        options.strideH, options.strideW = stride
        options.padding = schema.Padding.SAME if same else schema.Padding.VALID
        options.fusedActivationFunction = ACTIVATIONS[activation]
        sides = self._out_sides(source, kernel, stride, (1, 1), same)
        output = self.activation((*sides, self.shape(source)[2]), *self.quant(source))
        return self.op(f"{kind}_POOL_2D", [source], output, options, _OPTIONS.Pool2DOptions)

    def mean(self, source: int, out: tuple[float, int], keep_dims: bool) -> int:
        options = schema.ReducerOptionsT()
        options.keepDims = keep_dims
        channels = self.shape(source)[2]
        output = self.activation((1, 1, channels) if keep_dims else (channels,), *out)
        axes = self.constant(np.array([1, 2], dtype=np.int32))
        return self.op("MEAN", [source, axes], output, options, _OPTIONS.ReducerOptions)

    def reshape(self, source: int, shape: tuple[int, ...]) -> int:
        target = self.constant(np.array([1, *shape], dtype=np.int32))
        output = self.activation(shape, *self.quant(source), signature=True)
        return self.op("RESHAPE", [source, target], output)

    def softmax(self, source: int, beta: float = 1.0) -> int:
        options = schema.SoftmaxOptionsT()
        options.beta = beta
        output = self.activation(self.shape(source), 1 / 256, -128)
        return self.op("SOFTMAX", [source], output, options, _OPTIONS.SoftmaxOptions)

    def pad(self, source: int, pads: list[tuple[int, int]]) -> int:
        sides = tuple(side + sum(pad) for side, pad in zip(self.shape(source), pads, strict=True))
        amounts = self.constant(np.array([(0, 0), *pads], dtype=np.int32))
        return self.op(
            "PAD",
            [source, amounts],
            self.activation(sides, *self.quant(source)),
            schema.PadOptionsT(),
            _OPTIONS.PadOptions,
        )

    def quantize(self, source: int, out: tuple[float, int]) -> int:
        output = self.activation(self.shape(source), *out)
        return self.op("QUANTIZE", [source], output, schema.QuantizeOptionsT(), _OPTIONS.QuantizeOptions)

    # --- helpers --------------------------------------------------------------------------------------------------

    def _sliding(
        self, options: Any, stride: tuple[int, int], dilation: tuple[int, int], same: bool, activation: str
    ) -> None:
        options.strideH, options.strideW = stride
        options.dilationHFactor, options.dilationWFactor = dilation
        options.padding = schema.Padding.SAME if same else schema.Padding.VALID
        options.fusedActivationFunction = ACTIVATIONS[activation]

    def _out_sides(
        self, source: int, kernel: Any, stride: tuple[int, int], dilation: tuple[int, int], same: bool
    ) -> tuple[int, int]:
        sides = []
        for axis in range(2):
            reach = 1 if same else (kernel[axis] - 1) * dilation[axis] + 1
            sides.append(-(-(self.shape(source)[axis] - reach + 1) // stride[axis]))
        return sides[0], sides[1]

    def _weighted(
        self, name: str, source: int, weights: NDArray[np.int8], weight_scales: list[float], axis: int,
        bias: NDArray[np.int32] | None, shape: tuple[int, ...], out: tuple[float, int], options: Any, options_type: int,
    ) -> int:  # fmt: skip
        inputs = [source, self.constant(weights, weight_scales, axis)]
        if bias is not None:
            scale = self.quant(source)[0]
            inputs.append(self.constant(bias, [float(np.float32(scale * s)) for s in weight_scales]))
        return self.op(name, inputs, self.activation(shape, *out), options, options_type)
