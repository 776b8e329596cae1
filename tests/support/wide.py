"""Builds small models with 16-bit activations and int8 weights, and runs them on the twin and in TFLM's interpreter."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray
from typing_extensions import override

from tests import emulated
from tests.support.random_moves import resize_nearest
from tests.support.tflite_builder import ModelBuilder, Quant
from tests.support.tflite_tables import Table
from tritguard.boards import CoreClass
from tritguard.emit import write_bundle
from tritguard.oracle import Oracle, probes
from tritguard.twin import Twin


class WideBuilder(ModelBuilder):
    """A model whose activations are int16, with zero point 0, but for those that `narrow` and `edges` make."""

    @override
    def activation(self, shape: tuple[int, ...], scale: float, zero_point: int, signature: bool = False) -> int:
        tensor = super().activation(shape, scale, 0, signature)
        self.tensors[tensor].type = "INT16"
        return tensor

    def narrow(self, source: int, out: Quant) -> int:
        """QUANTIZE to int8."""
        output = self.tensor([1, *self.shape(source)], "INT8", [out[0]], [out[1]])
        return self.op("QUANTIZE", [source], output, Table("QuantizeOptions"))

    def from_narrow(self) -> int:
        """Make the input int8, and give it in int16: QUANTIZE."""
        scale, _ = self.quant(self.input)
        self.tensors[self.input].type = "INT8"
        return self.quantize(self.input, (scale / 200, 0))

    def from_float(self) -> int:
        """Make the input float32, and give it in int16: QUANTIZE."""
        spec = self.tensors[self.input]
        scale, _ = self.quant(self.input)
        spec.type, spec.scales, spec.zero_points = "FLOAT32", None, None
        output = self.activation(self.shape(self.input), scale, 0)
        return self.op("QUANTIZE", [self.input], output, Table("QuantizeOptions"))

    def as_float(self, source: int) -> int:
        """DEQUANTIZE to float32."""
        output = self.edge(self.shape(source), "FLOAT32", (1.0, 0))
        return self.op("DEQUANTIZE", [source], output, Table("DequantizeOptions"))

    def size(self, tensor: int) -> int:
        """The elements of a tensor."""
        return math.prod(self.shape(tensor))

    def steps(self, values: NDArray[Any], scale: float) -> int:
        """A constant of int16, with a batch of one."""
        return self.constant(values.astype(np.int16), [scale])


def inputs(shape: tuple[int, ...], dtype: np.dtype[Any], count: int = 6) -> NDArray[Any]:
    """Both extremes, noise over the whole range, and noise around zero, where roundings show."""
    x = probes(shape, count, dtype)
    small = np.random.default_rng(1).integers(-40, 41, (count, *shape)).astype(dtype)
    return np.concatenate([x, small])


def wide_differences(content: bytes, core: CoreClass = "m4") -> str | None:
    """What the twin computes where it is not what the oracle does; None if nowhere."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(content, Path(folder) / "bundle", name="wide", core=core)
        x = inputs(bundle.manifest.input_shape, bundle.manifest.input_dtype)
        ours, theirs = Twin(bundle, threads=1).predict(x).scores, Oracle(content).predict(x).scores
        if ours.dtype == theirs.dtype and np.array_equal(ours, theirs):
            return None
        ops = [layer.op for layer in bundle.manifest.layers]
        return f"{(ours != theirs).sum()} of {theirs.size} {theirs.dtype}; {ops}"


def wide_differences_on_core(core: emulated.Core, contents: list[bytes]) -> list[str]:
    """What an emulated core computes where it is not what the oracle does."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = []
        for i, content in enumerate(contents):
            bundle = write_bundle(content, folder / f"bundle_{i}", name="wide", core=core.core_class)
            x = inputs(bundle.manifest.input_shape, bundle.manifest.input_dtype)
            cases.append(emulated.Case(bundle, x))
        found = []
        for content, case, (scores, _) in zip(contents, cases, emulated.run(core, cases, folder), strict=True):
            expected = Oracle(content).predict(case.x).scores
            if scores.dtype != expected.dtype or not np.array_equal(scores, expected):
                found.append(f"{(scores != expected).sum()} of {expected.size}")
        return found


def _scales(rng: np.random.Generator, channels: int) -> list[float]:
    return [float(np.float32(value)) for value in rng.uniform(0.001, 0.01, channels)]


def _bias(rng: np.random.Generator, name: str, channels: int, bits: int | None = None) -> NDArray[Any] | None:
    """None, or a bias of int64; of int32 where TFLM reads it as such, with sums that wrap. `bits`: of its values."""
    kinds = [None, np.int64] + ([np.int32] if name in ("CONV_2D", "FULLY_CONNECTED") else [])
    kind = kinds[rng.integers(len(kinds))]
    if kind is None:
        return None
    most = 1 << int(rng.choice([8, 20, 31 if kind is np.int32 else 36]) if bits is None else bits)
    return rng.integers(-most, most, channels, dtype=np.int64).astype(kind)


def wide_layer(rng: np.random.Generator, name: str) -> bytes:
    """A layer with weights, of any shape, window and scales."""
    height, width, depth = (int(value) for value in rng.integers(1, 9, 3))
    scale = float(np.float32(10 ** rng.uniform(-5, -3)))
    activation = str(rng.choice(["NONE", "RELU", "RELU6"]))
    kernel, stride = ((int(a), int(b)) for a, b in rng.integers(1, 4, (2, 2)))
    same = bool(rng.random() < 0.5) or height < kernel[0] or width < kernel[1]
    channels = depth * int(rng.integers(1, 3)) if name == "DEPTHWISE_CONV_2D" else int(rng.integers(1, 9))
    builder = WideBuilder((600,) if name == "FULLY_CONNECTED" else (height, width, depth), scale, 0)
    shape = {"DEPTHWISE_CONV_2D": (*kernel, channels), "FULLY_CONNECTED": (channels, 600)}.get(
        name, (channels, *kernel, depth)
    )
    weights = rng.integers(-128, 128, shape).astype(np.int8)
    scales = _scales(rng, channels if rng.random() < 0.7 else 1)
    terms = weights.size // channels
    out = (float(np.float32(scale * max(scales) * 60 * np.sqrt(terms) * rng.choice([0.3, 1, 3]))), 0)
    bias = _bias(rng, name, channels)
    if name == "FULLY_CONNECTED":
        return builder.build(builder.dense(builder.input, weights, scales, bias, out, activation))
    if name == "TRANSPOSE_CONV":
        sides = [
            size * step if same else (size - 1) * step + side
            for size, step, side in zip((height, width), stride, kernel, strict=True)
        ]
        made = builder.transpose_conv(
            builder.input, weights, scales, bias, out, (sides[0], sides[1]), stride=stride, same=same,
            activation=activation,
        )  # fmt: skip
        return builder.build(made)
    method = builder.conv if name == "CONV_2D" else builder.depthwise
    return builder.build(
        method(builder.input, weights, scales, bias, out, stride=stride, same=same, activation=activation)
    )


def _layers(rng: np.random.Generator, builder: WideBuilder, tensor: int) -> int:
    """A convolution, a depthwise and a transposed one after the other, whose values fill their scales."""
    for name in ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"):
        depth, scale = builder.shape(tensor)[2], builder.quant(tensor)[0]
        channels = 2 * depth if name == "DEPTHWISE_CONV_2D" else 5
        shape = (3, 2, channels) if name == "DEPTHWISE_CONV_2D" else (channels, 3, 2, depth)
        weights = rng.integers(-128, 128, shape).astype(np.int8)
        scales = _scales(rng, channels)
        out = (float(np.float32(scale * max(scales) * 60 * np.sqrt(weights.size // channels))), 0)
        bias = _bias(rng, name, channels, 20)
        if name == "TRANSPOSE_CONV":
            sides = (2 * builder.shape(tensor)[0], builder.shape(tensor)[1])
            tensor = builder.transpose_conv(tensor, weights, scales, bias, out, sides, stride=(2, 1), same=True)
        else:
            method = builder.conv if name == "CONV_2D" else builder.depthwise
            tensor = method(tensor, weights, scales, bias, out, stride=(1, 1), same=True)
    return tensor


def cast_options(source: str, sink: str) -> Table:
    """The options of a CAST between two types."""
    kinds = {"InDataType": source, "OutDataType": sink}
    return Table("CastOptions", **{name: getattr(tflite.TensorType, kind) for name, kind in kinds.items()})


def _further(builder: WideBuilder, image: int, curve: int, gates: list[int]) -> list[int]:
    """The ops that the road to the output has no room for."""
    scale, channels = builder.quant(image)[0], builder.shape(image)[2]
    relu = builder.unary("RELU", image, (scale * 0.3, 0))
    pairs = [builder.binary(name, gates[0], gates[1], (2**-15, 0)) for name in ("MAXIMUM", "MINIMUM")]
    sides = builder.shape(image)[:2]
    summed = builder.activation((sides[0], channels), scale * 3, 0)
    matrix = builder.activation((sides[0], sides[0]), scale * scale * 16384 * channels, 0)
    difference = builder.binary("SQUARED_DIFFERENCE", gates[0], gates[1], (2**-14, 0))
    low = builder.tensor([1, *builder.shape(image)], "INT8", [scale], [0])
    builder.op("CAST", [image], low, cast_options("INT16", "INT8"))
    rows = builder.reshape(curve, (builder.size(curve) // 5, 5))
    return [
        builder.unary("RELU6", relu, builder.quant(relu)),
        builder.unary("ABS", image, (scale * 1.3, 0)),
        builder.op("CAST", [low], builder.activation(builder.shape(image), scale, 0), cast_options("INT8", "INT16")),
        resize_nearest(builder, image, (3, 5), align_corners=False, half_pixels=True),
        difference,
        *pairs,
        builder.mean(image, (scale * 0.4, 0), keep_dims=True),
        builder.op("SUM", [image, builder.ints([2])], summed, Table("ReducerOptions", KeepDims=False)),
        builder.op("BATCH_MATMUL", [summed, summed], matrix, Table("BatchMatMulOptions", AdjX=False, AdjY=True)),
        builder.unary("SOFTMAX", rows, (2**-15, 0), Table("SoftmaxOptions", Beta=1.0)),
    ]


def wide_net(seed: int, *, edges: str = "INT16", classes: int = 3, several: bool = False) -> bytes:
    """A network of every op that is taken with 16-bit activations.

    Args:
        seed: of its weights and scales.
        edges: the type of input and output: INT16, INT8 or FLOAT32.
        classes: the elements of the output.
        several: whether tensors inside are outputs too.
    """
    rng = np.random.default_rng(seed)
    builder = WideBuilder((5, 4, 3), float(np.float32(10 ** rng.uniform(-4, -3))), 0)
    tensor = {"INT16": lambda: builder.input, "INT8": builder.from_narrow, "FLOAT32": builder.from_float}[edges]()
    moved = builder.transpose(builder.pad(tensor, [(1, 0), (0, 2), (0, 0)]), [0, 2, 1, 3])
    first, second = builder.split(moved, 1, [2, 4], explicit=True)
    joined = builder.concatenation([second, first], 1)
    sliced = builder.strided_slice(joined, [0, 0, 1, 0], [1, 6, 6, 3], [1, 1, 1, 2], (6, 5, 2))
    tensor = _layers(rng, builder, sliced)
    leaky = builder.unary(
        "LEAKY_RELU", tensor, (builder.quant(tensor)[0] * 0.7, 0), Table("LeakyReluOptions", Alpha=0.3)
    )
    pooled = builder.pool(leaky, "MAX", (2, 2), (2, 1), False, "RELU6")
    averaged = builder.pool(leaky, "AVERAGE", (2, 2), (2, 1), False, "NONE")
    level = builder.quant(leaky)[0]
    added = builder.add(pooled, averaged, (level * 2, 0), "NONE")
    less = builder.binary("SUB", added, builder.steps(rng.integers(-32768, 32768, (5,)), level), (level * 3, 0))
    curve = builder.quantize(less, (float(rng.choice([2.0**-12, 2.0**-11, 3e-4])), 0))
    gates = [builder.unary(name, curve, (2**-15, 0)) for name in ("LOGISTIC", "TANH")]
    product = builder.binary("MUL", gates[0], gates[1], (2**-15, 0), "RELU")
    parts = builder.unpack(builder.reshape(product, (len(gates), builder.size(product) // 2)), 1)
    flat = builder.concatenation([*parts[::-1], parts[0]], 1)
    weights = rng.integers(-128, 128, (classes, builder.size(flat))).astype(np.int8)
    out = float(np.float32(0.005 * 2**-15 * 80 * np.sqrt(builder.size(flat))))
    tensor = builder.dense(flat, weights, [0.005], _bias(rng, "FULLY_CONNECTED", classes, 18), (out, 0))
    if edges == "INT8":  # and a layer of int8 as the head
        narrow = builder.narrow(tensor, (out * 256, 3))
        head = rng.integers(-128, 128, (classes, classes)).astype(np.int8)
        tensor = builder.dense(narrow, head, [0.005], None, (out * 256, 3))
        builder.tensors[tensor].type, builder.tensors[tensor].zero_points = "INT8", [3]
        return builder.build(tensor)
    inside = [sliced, leaky, pooled, averaged, less, *gates, product] if several else []
    inside += _further(builder, leaky, curve, gates) if several else []
    return builder.build(builder.as_float(tensor) if edges == "FLOAT32" else tensor, *inside)


def size_as_input() -> bytes:
    """A transposed convolution whose first input, which says the size of its output, is one of the model's."""
    builder = WideBuilder((2, 3, 2), 0.001, 0)
    weights = np.arange(-6, 6, dtype=np.int8).reshape(2, 1, 3, 2)
    output = builder.transpose_conv(
        builder.input, weights, [0.1], np.array([5, -7]), (0.001, 0), (4, 3), stride=(2, 1), same=True
    )
    size = int(builder.operators[0].fields["Inputs"][0])
    builder.tensors[size].buffer = 0
    builder.inputs = [size, builder.input]
    return builder.build(output)
