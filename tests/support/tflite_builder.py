"""Builds small int8 models op by op, so that tests choose every scale, zero point and shape themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from tests.support.tflite_tables import ModelTables, Table, ints

ACTIVATIONS = {"NONE": 0, "RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}
Quant = tuple[float, int]
Int8 = NDArray[np.int8]
Bias = NDArray[np.int32] | None


class ModelBuilder(ModelTables):
    """A model grown from its input; every method adds one op and returns its output tensor's index."""

    # --- layers with weights --------------------------------------------------------------------------------------

    def conv(
        self, source: int, weights: Int8, weight_scales: list[float], bias: Bias, out: Quant, *,
        stride: tuple[int, int] = (1, 1), dilation: tuple[int, int] = (1, 1), same: bool = True,
        activation: str = "NONE",
    ) -> int:  # fmt: skip
        options = Table("Conv2DOptions", **self._sliding(stride, dilation, same, activation))
        shape = (*self._out_sides(source, weights.shape[1:3], stride, dilation, same), weights.shape[0])
        return self._weighted("CONV_2D", source, weights, weight_scales, 0, bias, shape, out, options)

    def depthwise(
        self, source: int, weights: Int8, weight_scales: list[float], bias: Bias, out: Quant, *,
        stride: tuple[int, int] = (1, 1), dilation: tuple[int, int] = (1, 1), same: bool = True,
        activation: str = "NONE",
    ) -> int:  # fmt: skip
        options = Table(
            "DepthwiseConv2DOptions",
            **self._sliding(stride, dilation, same, activation),
            DepthMultiplier=weights.shape[2] // self.shape(source)[2],
        )
        shape = (*self._out_sides(source, weights.shape[:2], stride, dilation, same), weights.shape[2])
        return self._weighted("DEPTHWISE_CONV_2D", source, weights[None], weight_scales, 3, bias, shape, out, options)

    def transpose_conv(
        self, source: int, weights: Int8, weight_scales: list[float], bias: Bias, out: Quant,
        sides: tuple[int, int], *, stride: tuple[int, int], same: bool, activation: str = "NONE",
    ) -> int:  # fmt: skip
        """A TRANSPOSE_CONV with weights [out, h, w, in] whose output image has the height and width `sides`."""
        options = Table(
            "TransposeConvOptions", StrideH=stride[0], StrideW=stride[1], Padding=self._padding(same),
            FusedActivationFunction=ACTIVATIONS[activation],
        )  # fmt: skip
        shape = (*sides, weights.shape[0])
        inputs = [self.ints([1, *shape]), self.constant(weights, weight_scales, 0), source]
        if bias is not None:
            scale = self.quant(source)[0]
            inputs.append(self.constant(bias, [float(np.float32(scale * s)) for s in weight_scales]))
        return self.op("TRANSPOSE_CONV", inputs, self.activation(shape, *out), options)

    def dense(
        self, source: int, weights: Int8, weight_scales: list[float], bias: Bias, out: Quant, activation: str = "NONE"
    ) -> int:
        options = Table("FullyConnectedOptions", FusedActivationFunction=ACTIVATIONS[activation])
        shape = (weights.shape[0],)
        return self._weighted("FULLY_CONNECTED", source, weights, weight_scales, 0, bias, shape, out, options)

    # --- element by element ---------------------------------------------------------------------------------------

    def add(self, first: int, second: int, out: Quant, activation: str = "NONE") -> int:
        return self.binary("ADD", first, second, out, activation)

    def binary(self, name: str, first: int, second: int, out: Quant, activation: str = "NONE") -> int:
        """ADD, SUB, MUL, PRELU, MAXIMUM or MINIMUM of two tensors whose shapes broadcast; either may be a constant."""
        shape = np.broadcast_shapes(tuple(self.tensors[first].shape), tuple(self.tensors[second].shape))
        options = None
        if name in ("ADD", "SUB", "MUL"):
            options = Table(f"{name.capitalize()}Options", FusedActivationFunction=ACTIVATIONS[activation])
        return self.op(name, [first, second], self.activation(shape[1:], *out), options)

    def unary(self, name: str, source: int, out: Quant, options: Table | None = None) -> int:
        """Any function of one element."""
        return self.op(name, [source], self.activation(self.shape(source), *out), options)

    def quantize(self, source: int, out: Quant) -> int:
        return self.unary("QUANTIZE", source, out, Table("QuantizeOptions"))

    def softmax(self, source: int, beta: float = 1.0) -> int:
        return self.unary("SOFTMAX", source, (1 / 256, -128), Table("SoftmaxOptions", Beta=beta))

    def log_softmax(self, source: int) -> int:
        return self.unary("LOG_SOFTMAX", source, (1 / 16, 127), Table("LogSoftmaxOptions"))

    def l2_normalization(self, source: int) -> int:
        return self.unary("L2_NORMALIZATION", source, (1 / 128, 0), Table("L2NormOptions"))

    # --- reductions -----------------------------------------------------------------------------------------------

    def pool(
        self, source: int, kind: str, kernel: tuple[int, int], stride: tuple[int, int], same: bool, activation: str
    ) -> int:
        options = Table(
            "Pool2DOptions", FilterHeight=kernel[0], FilterWidth=kernel[1], StrideH=stride[0], StrideW=stride[1],
            Padding=self._padding(same), FusedActivationFunction=ACTIVATIONS[activation],
        )  # fmt: skip
        sides = self._out_sides(source, kernel, stride, (1, 1), same)
        output = self.activation((*sides, self.shape(source)[2]), *self.quant(source))
        return self.op(f"{kind}_POOL_2D", [source], output, options)

    def mean(self, source: int, out: Quant, keep_dims: bool) -> int:
        channels = self.shape(source)[2]
        output = self.activation((1, 1, channels) if keep_dims else (channels,), *out)
        return self.op("MEAN", [source, self.ints([1, 2])], output, Table("ReducerOptions", KeepDims=keep_dims))

    # --- movement -------------------------------------------------------------------------------------------------

    def reshape(self, source: int, shape: tuple[int, ...]) -> int:
        output = self.activation(shape, *self.quant(source), signature=True)
        return self.op("RESHAPE", [source, self.ints([1, *shape])], output)

    def pad(self, source: int, pads: list[tuple[int, int]]) -> int:
        sides = tuple(side + sum(pad) for side, pad in zip(self.shape(source), pads, strict=True))
        amounts = self.constant(np.array([(0, 0), *pads], dtype=np.int32))
        output = self.activation(sides, *self.quant(source))
        return self.op("PAD", [source, amounts], output, Table("PadOptions"))

    def transpose(self, source: int, order: Sequence[int]) -> int:
        """TRANSPOSE; `order` counts the batch axis."""
        shape = tuple(self.tensors[source].shape[axis] for axis in order)
        output = self.activation(shape[1:], *self.quant(source))
        return self.op("TRANSPOSE", [source, self.ints(order)], output, Table("TransposeOptions"))

    def strided_slice(
        self, source: int, begin: Sequence[int], end: Sequence[int], steps: Sequence[int], shape: tuple[int, ...],
        **masks: int,
    ) -> int:  # fmt: skip
        """STRIDED_SLICE; `begin`, `end` and `steps` count the batch axis, `shape`, the result's, does not."""
        inputs = [source, self.ints(begin), self.ints(end), self.ints(steps)]
        output = self.activation(shape, *self.quant(source))
        return self.op("STRIDED_SLICE", inputs, output, Table("StridedSliceOptions", **masks))

    def slice(self, source: int, begin: Sequence[int], size: Sequence[int], shape: tuple[int, ...]) -> int:
        """SLICE; `begin` and `size` count the batch axis, `shape`, the result's, does not."""
        output = self.activation(shape, *self.quant(source))
        return self.op("SLICE", [source, self.ints(begin), self.ints(size)], output, Table("SliceOptions"))

    def split(self, source: int, axis: int, sizes: Sequence[int], explicit: bool) -> list[int]:
        """SPLIT_V where explicit, else SPLIT; the axis counts the batch."""
        shape = self.shape(source)
        outputs = [self.activation((*shape[: axis - 1], size, *shape[axis:]), *self.quant(source)) for size in sizes]
        where = self.ints([axis])
        if explicit:
            options = Table("SplitVOptions", NumSplits=len(sizes))
            self.op("SPLIT_V", [source, self.ints(sizes), where], outputs, options)
        else:
            self.op("SPLIT", [where, source], outputs, Table("SplitOptions", NumSplits=len(sizes)))
        return outputs

    def unpack(self, source: int, axis: int) -> list[int]:
        """The axis counts the batch."""
        shape = self.shape(source)
        rest = (*shape[: axis - 1], *shape[axis:])
        outputs = [self.activation(rest, *self.quant(source)) for _ in range(shape[axis - 1])]
        self.op("UNPACK", [source], outputs, Table("UnpackOptions", Num=len(outputs), Axis=axis))
        return outputs

    def pack(self, sources: list[int], axis: int) -> int:
        """The axis counts the batch."""
        shape = self.shape(sources[0])
        output = self.activation((*shape[: axis - 1], len(sources), *shape[axis - 1 :]), *self.quant(sources[0]))
        return self.op("PACK", sources, output, Table("PackOptions", ValuesCount=len(sources), Axis=axis))

    def concatenation(self, sources: list[int], axis: int) -> int:
        """The axis counts the batch."""
        shape = list(self.shape(sources[0]))
        shape[axis - 1] = sum(self.shape(source)[axis - 1] for source in sources)
        output = self.activation(tuple(shape), *self.quant(sources[0]))
        return self.op("CONCATENATION", sources, output, Table("ConcatenationOptions", Axis=axis))

    def blocks(self, source: int, name: str, block: int) -> int:
        """DEPTH_TO_SPACE or SPACE_TO_DEPTH."""
        height, width, depth = self.shape(source)
        if name == "DEPTH_TO_SPACE":
            shape = (height * block, width * block, depth // block**2)
            options = Table("DepthToSpaceOptions", BlockSize=block)
        else:
            shape = (height // block, width // block, depth * block**2)
            options = Table("SpaceToDepthOptions", BlockSize=block)
        return self.op(name, [source], self.activation(shape, *self.quant(source)), options)

    # --- helpers --------------------------------------------------------------------------------------------------

    def ints(self, values: Sequence[int]) -> int:
        """A constant vector of int32."""
        return self.constant(ints(values))

    @staticmethod
    def _padding(same: bool) -> int:
        return int(tflite.Padding.SAME if same else tflite.Padding.VALID)

    def _sliding(
        self, stride: tuple[int, int], dilation: tuple[int, int], same: bool, activation: str
    ) -> dict[str, int]:
        return {
            "StrideH": stride[0], "StrideW": stride[1], "DilationHFactor": dilation[0], "DilationWFactor": dilation[1],
            "Padding": self._padding(same), "FusedActivationFunction": ACTIVATIONS[activation],
        }  # fmt: skip

    def _out_sides(
        self, source: int, kernel: Any, stride: tuple[int, int], dilation: tuple[int, int], same: bool
    ) -> tuple[int, int]:
        sides = []
        for axis in range(2):
            reach = 1 if same else (kernel[axis] - 1) * dilation[axis] + 1
            sides.append(-(-(self.shape(source)[axis] - reach + 1) // stride[axis]))
        return sides[0], sides[1]

    def _weighted(
        self, name: str, source: int, weights: Int8, weight_scales: list[float], axis: int, bias: Bias,
        shape: tuple[int, ...], out: Quant, options: Table,
    ) -> int:  # fmt: skip
        inputs = [source, self.constant(weights, weight_scales, axis)]
        if bias is not None:
            scale = self.quant(source)[0]
            inputs.append(self.constant(bias, [float(np.float32(scale * s)) for s in weight_scales]))
        return self.op(name, inputs, self.activation(shape, *out), options)
