"""Hypothesis strategies for whole int8 models: shapes, strides, paddings, zero points, extreme scales."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.random_moves import moved
from tests.support.random_pairs import pair, product, reduction
from tests.support.tflite_builder import ModelBuilder
from tests.support.tflite_tables import Table
from tritguard.boards import CoreClass
from tritguard.emit import Bundle, write_bundle
from tritguard.graph.formats.registry import WeightFormat

# Mostly scales at which both ends of RELU6 can be reached and differ; with others most graphs would be constants.
scales = st.one_of(st.floats(-3, 0), st.floats(-3, 0), st.floats(-3, 3)).map(lambda value: float(np.float32(10**value)))
zero_points = st.one_of(st.sampled_from([-128, -128, 0, 127]), st.integers(-128, 60), st.integers(-128, 127))
activations = st.sampled_from(["NONE", "NONE", "NONE", "RELU", "RELU", "RELU6", "RELU6", "RELU_N1_TO_1"])


@st.composite
def _weights(draw: st.DrawFn, shape: tuple[int, ...], channel_axis: int) -> NDArray[np.int8]:
    """Weights of any int8 values, of extreme ones only, or ternary with one magnitude for each channel."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    style = draw(st.sampled_from(["any", "some", "extreme", "ternary", "ternary", "ternary127", "ternary127", "zero"]))
    if style == "any":
        return rng.integers(-128, 128, shape, dtype=np.int8)
    if style == "some":  # inputs, taps and outputs without a weight
        live = np.ones(shape, dtype=bool)
        for axis, size in enumerate(shape):
            live &= np.expand_dims(rng.random(size) < 0.6, [other for other in range(len(shape)) if other != axis])
        return np.where(live, rng.integers(-128, 128, shape), 0).astype(np.int8)
    if style == "extreme":
        return rng.choice(np.array([-128, 127], dtype=np.int8), shape)
    if style == "zero":
        return np.zeros(shape, dtype=np.int8)
    zeros = draw(st.sampled_from([0.0, 0.3, 0.5, 0.7, 0.95]))
    trits = np.where(rng.random(shape) < zeros, 0, rng.choice([-1, 1], shape)).astype(np.int8)
    sides = [1] * len(shape)
    sides[channel_axis] = shape[channel_axis]
    magnitude = np.full(sides, 127) if style == "ternary127" else rng.integers(1, 128, sides)
    return (trits * magnitude).astype(np.int8)


@st.composite
def _weight_scales(draw: st.DrawFn, channels: int) -> list[float]:
    base = draw(st.floats(1e-5, 1.0))
    if draw(st.booleans()):
        return [float(np.float32(base))]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return [float(np.float32(base * value)) for value in rng.uniform(0.01, 1.0, channels)]


@st.composite
def _bias(draw: st.DrawFn, channels: int) -> NDArray[np.int32] | None:
    spread = draw(st.sampled_from([None, 0, 100, 3000, 3000, 100_000, 2**26]))
    if spread is None:
        return None
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bias = rng.integers(-spread, spread + 1, channels, dtype=np.int32)
    # Some channels saturate whatever the input, so that passes over the graph find constants.
    saturated = rng.random(channels) < draw(st.sampled_from([0, 0, 0, 0, 0.3, 0.3, 0.8, 1]))
    bias[saturated] += rng.choice(np.array([-(2**25), 2**25], dtype=np.int32), int(saturated.sum()))
    return bias


@st.composite
def _out(draw: st.DrawFn, in_scale: float, weight_scales: list[float], depth: int) -> tuple[float, int]:
    """Mostly an output scale that fits the sums; sometimes far too small (outputs saturate) or too large (all zero)."""
    fitting = in_scale * max(weight_scales) * math.sqrt(depth) * 60
    factor = draw(st.sampled_from([1.0, 1.0, 1.0, 0.3, 0.3, 3.0, 3.0, 1e-3, 1e3]))
    return float(np.float32(max(fitting * factor, 1e-8))), draw(zero_points)


@st.composite
def models(draw: st.DrawFn, several: bool = False) -> bytes:
    """A sound int8 model that is random in everything else: a DAG whose tensors may have several readers.

    With `several`, half of the models have more inputs or outputs than one.
    """
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 19)))
    builder = ModelBuilder(shape, draw(scales), draw(zero_points))
    made = [builder.input]
    further = draw(st.sampled_from([(0, 0), (0, 0), (0, 2), (1, 0), (2, 1)])) if several else (0, 0)
    for _ in range(further[0]):
        sides = draw(st.sampled_from([shape, (shape[0], shape[1], draw(st.integers(1, 5)))]))
        made.append(builder.add_input(sides, *draw(st.sampled_from([builder.quant(builder.input), (0.5, 3)]))))
    for _ in range(draw(st.integers(1, 5))):
        source = made[-1] if draw(st.integers(0, 2)) else draw(st.sampled_from(made))
        made.append(draw(st.sampled_from(IMAGE_OPS))(draw, builder, source))
        if draw(st.integers(0, 3)) == 0:
            made.append(_joined(draw, builder, made))
    tensor = made[-1]
    if draw(st.booleans()):
        tensor = _head(draw, builder, tensor)
    others = [other for other in made if other not in (*builder.inputs, tensor)]
    return builder.build(tensor, *draw(st.permutations(others))[: further[1]])


def _factor(draw: st.DrawFn, scale: float, factors: list[float]) -> float:
    return float(np.float32(max(scale * draw(st.sampled_from(factors)), 1e-8)))  # smaller ones are refused with RELU6


def _add(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    """The second operand is the tensor itself or a rescaled copy, whose scale differs."""
    rescaled = _factor(draw, builder.quant(tensor)[0], [1e-3, 0.3, 1.0, 7.0, 1e3])
    other = tensor if draw(st.booleans()) else builder.quantize(tensor, (rescaled, draw(zero_points)))
    largest = max(builder.quant(tensor)[0], builder.quant(other)[0])
    out = (_factor(draw, largest, [0.02, 0.5, 1.0, 2.0, 50.0]), draw(zero_points))
    return builder.add(tensor, other, out, draw(activations))


def _pool(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    height, width, _ = builder.shape(tensor)
    same = draw(st.booleans())
    kernel = (draw(st.integers(1, min(4, height))), draw(st.integers(1, min(4, width))))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    return builder.pool(tensor, draw(st.sampled_from(["AVERAGE", "MAX"])), kernel, stride, same, draw(activations))


def _pad(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    return builder.pad(tensor, [(draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(3)])


def _quantize(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    scale = _factor(draw, builder.quant(tensor)[0], [0.01, 0.5, 1.0, 1.7, 300.0])
    return builder.quantize(tensor, (scale, draw(zero_points)))


def _reshape(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    height, width, depth = builder.shape(tensor)
    return builder.reshape(tensor, (width, height, depth))


def _same_quant(builder: ModelBuilder, tensor: int, out: tuple[float, int]) -> int:
    return tensor if builder.quant(tensor) == out else builder.quantize(tensor, out)


def _joined(draw: st.DrawFn, builder: ModelBuilder, made: list[int]) -> int:
    """The newest tensor and older ones, concatenated along an axis that their shapes allow."""
    newest = made[-1]
    axis = draw(st.integers(1, 3))

    def rest(tensor: int) -> tuple[int, ...]:
        return (*builder.shape(tensor)[: axis - 1], *builder.shape(tensor)[axis:])

    def rescales(tensor: int) -> bool:
        """Whether TFLM accepts the QUANTIZE that brings the tensor to the newest one's scale."""
        return builder.quant(tensor)[0] / builder.quant(newest)[0] < 1e6

    others = [tensor for tensor in made if rest(tensor) == rest(newest) and rescales(tensor)]
    chosen = draw(st.lists(st.sampled_from(others), min_size=1, max_size=3))
    out = builder.quant(newest)
    return builder.concatenation([_same_quant(builder, tensor, out) for tensor in (*chosen, newest)], axis)


FUNCTIONS = ("ABS", "ELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "RELU", "RELU6", "RSQRT", "TANH")


def function(draw: st.DrawFn, builder: ModelBuilder, tensor: int, name: str | None = None) -> int:
    """One op of FUNCTIONS; RELU often without rescaling, as converters write it."""
    name = name or draw(st.sampled_from(FUNCTIONS))
    source = builder.quant(tensor)
    while source[0] > 1e4:  # scales may have risen on the way; functions of such numbers need factors beyond 2^30
        tensor = builder.quantize(tensor, (source[0] * 1e-6, source[1]))
        source = builder.quant(tensor)
    out: tuple[float, int] = (float(np.float32(source[0] * draw(st.floats(0.03, 30)))), draw(zero_points))
    if name == "RELU6" or (name == "RELU" and draw(st.booleans())):
        out = source
    if name == "RSQRT":
        tensor = tensor if source[1] == -128 else builder.quantize(tensor, (source[0], -128))
        out = (float(np.float32(draw(st.sampled_from([0.1, 1.0, 3.0])) / (source[0] ** 0.5 * 127))), out[1])
    fixed = {"LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}
    alpha = draw(st.sampled_from([0.0, 0.1, 0.3, 1.5]))
    options = {"HARD_SWISH": Table("HardSwishOptions"), "LEAKY_RELU": Table("LeakyReluOptions", Alpha=alpha)}
    return builder.unary(name, tensor, fixed.get(name, out), options.get(name))


def _conv(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    return _sliding(draw, builder, tensor, "conv")


def _depthwise(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    return _sliding(draw, builder, tensor, "depthwise")


def _sliding(draw: st.DrawFn, builder: ModelBuilder, tensor: int, kind: str) -> int:
    height, width, depth = builder.shape(tensor)
    same = draw(st.booleans())
    kernel = (draw(st.integers(1, 4 if same else min(4, height))), draw(st.integers(1, 4 if same else min(4, width))))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    dilation = (1, 1)
    if draw(st.booleans()):
        room = [9 if same or k == 1 else (side - 1) // (k - 1) for side, k in zip((height, width), kernel, strict=True)]
        dilation = (draw(st.integers(1, min(3, room[0]))), draw(st.integers(1, min(3, room[1]))))
    channels = draw(st.integers(1, 20)) if kind == "conv" else depth * draw(st.sampled_from([1, 1, 1, 2, 3]))
    shape = (channels, *kernel, depth) if kind == "conv" else (*kernel, channels)
    weights = draw(_weights(shape, 0 if kind == "conv" else 2))
    weight_scales = draw(_weight_scales(channels))
    out = draw(_out(builder.quant(tensor)[0], weight_scales, weights.size // channels))
    return getattr(builder, kind)(
        tensor, weights, weight_scales, draw(_bias(channels)), out,
        stride=stride, dilation=dilation, same=same, activation=draw(activations),
    )  # fmt: skip


IMAGE_OPS = (
    _conv,
    _conv,
    _depthwise,
    _depthwise,
    _add,
    _pool,
    _pad,
    _quantize,
    _reshape,
    function,
    moved,
    moved,
    pair,
    reduction,
    product,
)


@st.composite
def rowwise_models(draw: st.DrawFn) -> bytes:
    """Tall images, and ops that work row by row; sums of tensors of one shape span others."""
    shape = (draw(st.integers(5, 20)), draw(st.integers(1, 5)), draw(st.integers(1, 9)))
    builder = ModelBuilder(shape, draw(scales), draw(zero_points))
    made = [builder.input]
    if draw(st.booleans()):
        made.append(builder.quantize(builder.input, (builder.quant(builder.input)[0], draw(zero_points))))
    for _ in range(draw(st.integers(2, 6))):
        source = made[-1] if draw(st.integers(0, 3)) else draw(st.sampled_from(made[-3:]))
        made.append(draw(st.sampled_from(_ROW_OPS))(draw, builder, source))
        others = [tensor for tensor in made[:-1] if builder.shape(tensor) == builder.shape(made[-1])]
        if others and draw(st.booleans()):
            other = draw(st.sampled_from(others))
            largest = max(builder.quant(tensor)[0] for tensor in (other, made[-1]))
            out = (_factor(draw, largest, [0.5, 1.0, 2.0]), draw(zero_points))
            made.append(builder.add(other, made[-1], out, draw(activations)))
    return builder.build(made[-1])


@st.composite
def sandwiches(draw: st.DrawFn, kinds: list[str]) -> bytes:
    """One op between two requantisations: its input and its output both live in the arena."""
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 19)))
    builder = ModelBuilder(shape, draw(scales), draw(zero_points))
    tensor = builder.quantize(builder.input, (builder.quant(builder.input)[0], draw(zero_points)))
    tensor = _SANDWICHED[draw(st.sampled_from(kinds))](draw, builder, tensor)
    return builder.build(builder.quantize(tensor, builder.quant(tensor)))


def _mean(_draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    return builder.mean(tensor, builder.quant(tensor), keep_dims=True)


_ROW_OPS = (_conv, _conv, _depthwise, _add, _pool, _quantize, function)
_SANDWICHED = {
    "conv": _conv, "depthwise": _depthwise, "pool": _pool, "add": _add, "quantize": _quantize, "mean": _mean,
    "function": function, "pair": pair,
}  # fmt: skip


def transpose_conv(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    """A transposed convolution to an output of the size that the padding gives, or to another, as TFLM takes any."""
    height, width, depth = builder.shape(tensor)
    same = draw(st.booleans())
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    off = draw(st.sampled_from([0, 0, -2, -1, 1, 3]))
    sides = tuple(
        max(1, (side - 1) * s + draw(st.integers(1, s)) + (0 if same else k - 1) + off)
        for side, s, k in zip((height, width), stride, kernel, strict=True)
    )
    channels = draw(st.integers(1, 9))
    weights = draw(_weights((channels, *kernel, depth), 0))
    weight_scales = draw(_weight_scales(channels))
    out = draw(_out(builder.quant(tensor)[0], weight_scales, weights.size // channels))
    return builder.transpose_conv(
        tensor, weights, weight_scales, draw(_bias(channels)), out, (sides[0], sides[1]),
        stride=stride, same=same, activation=draw(activations),
    )  # fmt: skip


def _head(draw: st.DrawFn, builder: ModelBuilder, tensor: int) -> int:
    if draw(st.booleans()):
        source_scale = builder.quant(tensor)[0]
        scale = float(np.float32(source_scale * draw(st.sampled_from([0.1, 1.0, 3.0]))))
        tensor = builder.mean(tensor, (scale, draw(zero_points)), keep_dims=draw(st.booleans()))
    size = math.prod(builder.shape(tensor))
    tensor = builder.reshape(tensor, (size,))
    units = draw(st.integers(1, 12))
    weights = draw(_weights((units, size), 0))
    weight_scales = draw(_weight_scales(units))
    out = draw(_out(builder.quant(tensor)[0], weight_scales, size))
    tensor = builder.dense(tensor, weights, weight_scales, draw(_bias(units)), out, draw(activations))
    # TFLM aborts on a softmax whose input steps are below 2^-26; ours refuses it, which another test shows.
    if builder.quant(tensor)[0] < 2**-24 or draw(st.booleans()):
        return tensor
    if draw(st.integers(0, 2)) == 0:
        return builder.log_softmax(tensor)
    return builder.softmax(tensor, draw(st.sampled_from([0.5, 1.0, 2.0])))


def bundle_of_any_formats(content: bytes, folder: Path, seed: int, core: CoreClass = "m4") -> Bundle:
    """Ternary layers in any format they can have: the cost model picks some of them for larger layers only."""
    first = write_bundle(content, folder / "first", name="random", core=core)
    rng = random.Random(seed)
    formats: dict[int, WeightFormat] = {
        layer.index: rng.choice(layer.ternary.offers).weight_format for layer in first.manifest.layers if layer.ternary
    }
    return write_bundle(content, folder / "any", name="random", core=core, formats=formats) if formats else first


inputs = st.integers(0, 2**32 - 1)


def sample_inputs(shape: tuple[int, ...], seed: int, count: int = 6) -> NDArray[np.int8]:
    """int8 inputs of noise, and the four patterns that saturate sums."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(-128, 128, (count, *shape), dtype=np.int8)
    extremes = np.stack([np.full(shape, -128, np.int8), np.full(shape, 127, np.int8)])
    edges = rng.choice(np.array([-128, 127], dtype=np.int8), (2, *shape))
    return np.concatenate([noise, extremes, edges])
