"""The models of the benchmarks: MLPerf Tiny's topologies, int8 and ternary."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tflite

from tests.support.shared import shared_file
from tests.support.tflite_builder import ModelBuilder
from tritguard.graph import read_graph
from tritguard.graph.model import Weighted
from tritguard.train import TrainConfig

TERNARY = 127
_SIDES = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640)


def resnet8() -> bytes:
    return shared_file("models/resnet8_int8.tflite").read_bytes()


def keywords() -> bytes:
    return shared_file("models/dscnn_int8.tflite").read_bytes()


def autoencoder() -> bytes:
    """MLPerf Tiny's anomaly detection network with random weights."""
    rng = np.random.default_rng(0)
    builder = ModelBuilder((_SIDES[0],), 0.05, 0)
    tensor = builder.input
    for index, units in enumerate(_SIDES[1:], start=1):
        depth = builder.shape(tensor)[0]
        weights = rng.integers(-127, 128, (units, depth), dtype=np.int8)
        bias = rng.integers(-2000, 2001, units, dtype=np.int32)
        last = index == len(_SIDES) - 1
        # About two standard deviations of the sum fill the output's range.
        scale = float(builder.quant(tensor)[0] * 0.01 * 73 * 60 * np.sqrt(depth) / 64)
        out = (float(np.float32(scale)), 0 if last else -128)
        tensor = builder.dense(tensor, weights, [0.01], bias, out, "NONE" if last else "RELU")
    return builder.build(tensor)


def random_net(shape: tuple[int, int, int], layers: Iterable[tuple[Any, ...]], classes: int = 0) -> bytes:
    """Layers with random weights, and SAME padding unless they say otherwise.

    Args:
        shape: of the input.
        layers: ("conv", kernel, stride, channels), ("depthwise", kernel, stride, multiplier), the same with "valid"
            behind it, or ("max", kernel, stride).
        classes: outputs of a dense layer behind the mean over the picture; 0 for neither of them.
    """
    rng = np.random.default_rng(0)
    builder = ModelBuilder(shape, 0.05, -128)
    tensor = builder.input
    for kind, kernel, stride, *rest in layers:
        if kind == "max":
            tensor = builder.pool(tensor, "MAX", kernel, stride, False, "NONE")
            continue
        tensor = _random_layer(builder, rng, tensor, kind, kernel, stride, rest[0], same="valid" not in rest)
    if not classes:
        return builder.build(builder.pool(tensor, "MAX", (1, 1), (1, 1), False, "NONE"))
    tensor = builder.mean(tensor, builder.quant(tensor), keep_dims=False)
    weights = rng.integers(-127, 128, (classes, builder.shape(tensor)[0]), dtype=np.int8)
    return builder.build(builder.dense(tensor, weights, [0.01], None, (1.0, 0)))


def _random_layer(
    builder: ModelBuilder, rng: np.random.Generator, source: int, kind: str, kernel: tuple[int, int],
    stride: tuple[int, int], count: int, *, same: bool = True, activation: str = "RELU",
) -> int:  # fmt: skip
    """A convolution to `count` channels, or a depthwise one of that multiplier; returns its output."""
    depth = builder.shape(source)[2]
    channels = count if kind == "conv" else depth * count
    sides = (channels, *kernel, depth) if kind == "conv" else (*kernel, channels)
    weights = rng.integers(-127, 128, sides, dtype=np.int8)
    bias = rng.integers(-2000, 2001, channels, dtype=np.int32)
    scale = float(np.float32(builder.quant(source)[0] * 0.01 * 73 * np.sqrt(weights.size / channels)))
    add = builder.conv if kind == "conv" else builder.depthwise
    out = (scale, -128 if activation == "RELU" else 0)
    return add(source, weights, [0.01] * channels, bias, out, stride=stride, same=same, activation=activation)


def fomo() -> bytes:
    """The layers of a FOMO that finds faces in 128 x 128 pixels, with random weights.

    They are MobileNetV2 0.1's up to an eighth of the sides, and two convolutions that give each cell its classes.
    """
    rng = np.random.default_rng(0)
    builder = ModelBuilder((128, 128, 1), 0.05, -128)

    def layer(source: int, kind: str, kernel: int, stride: int, count: int, activation: str = "RELU") -> int:
        return _random_layer(builder, rng, source, kind, (kernel,) * 2, (stride,) * 2, count, activation=activation)

    tensor = layer(builder.input, "conv", 3, 2, 8)
    tensor = layer(layer(tensor, "depthwise", 3, 1, 1), "conv", 1, 1, 8, "NONE")
    for stride in (2, 1, 2, 1, 1):
        wide = layer(layer(tensor, "conv", 1, 1, 48), "depthwise", 3, stride, 1)
        narrow = layer(wide, "conv", 1, 1, 8, "NONE")
        scale = 1.5 * max(builder.quant(tensor)[0], builder.quant(narrow)[0])
        tensor = narrow if stride == 2 else builder.add(tensor, narrow, (float(np.float32(scale)), 0))
    tensor = layer(layer(tensor, "conv", 1, 1, 48), "conv", 1, 1, 32)
    return builder.build(builder.softmax(layer(tensor, "conv", 1, 1, 2, "NONE")))


def demo() -> bytes:
    """The layers of the demo's network with random ternary weights."""
    config = TrainConfig()
    layers: list[tuple[Any, ...]] = [("conv", (3, 3), (2, 2), config.stem)]
    for block in config.blocks:
        layers += [("depthwise", (3, 3), (block.stride,) * 2, 1), ("conv", (1, 1), (1, 1), block.channels)]
    return ternarised(random_net((28, 28, 1), layers, classes=10))


def visual_wake_words() -> bytes:
    """The layers of MLPerf Tiny's MobileNet 0.25 with random weights, none of whose channels are dead."""
    blocks = ((1, 16), (2, 32), (1, 32), (2, 64), (1, 64), (2, 128), *[(1, 128)] * 5, (2, 256), (1, 256))
    layers: list[tuple[Any, ...]] = [("conv", (3, 3), (2, 2), 8)]
    for stride, channels in blocks:
        layers += [("depthwise", (3, 3), (stride, stride), 1), ("conv", (1, 1), (1, 1), channels)]
    return random_net((96, 96, 3), layers)


def wake_word() -> bytes:
    """The layers of MLPerf Tiny's streaming wake word with random weights."""
    layers: list[tuple[Any, ...]] = []
    for rows, channels in ((3, 128), (5, 128), (10, 128), (15, 32)):
        layers += [("depthwise", (rows, 1), (1, 1), 1, "valid"), ("conv", (1, 1), (1, 1), channels)]
    return random_net((30, 1, 40), layers)


KINDS: dict[str, Callable[[], bytes]] = {
    "depthwise-3x3": lambda: random_net((24, 24, 32), [("depthwise", (3, 3), (1, 1), 1)]),
    "depthwise-3x3-by-2": lambda: random_net((48, 48, 16), [("depthwise", (3, 3), (2, 2), 1)]),
    "depthwise-5x5": lambda: random_net((24, 24, 16), [("depthwise", (5, 5), (1, 1), 1)]),
    "depthwise-10x1": lambda: random_net((33, 1, 128), [("depthwise", (10, 1), (1, 1), 1, "valid")]),
    "depthwise-of-one-output": lambda: random_net((15, 1, 128), [("depthwise", (15, 1), (1, 1), 1, "valid")]),
    "depthwise-times-8": lambda: random_net((49, 40, 1), [("depthwise", (10, 8), (2, 2), 8)]),
    "conv-1x1": lambda: random_net((12, 12, 64), [("conv", (1, 1), (1, 1), 64)]),
    "conv-3x3": lambda: random_net((16, 16, 32), [("conv", (3, 3), (1, 1), 32)]),
    "conv-of-3-channels": lambda: random_net((96, 96, 3), [("conv", (3, 3), (2, 2), 8)]),
    "conv-of-1-channel": lambda: random_net((28, 28, 1), [("conv", (5, 5), (1, 1), 16)]),
    "conv-of-one-pixel": lambda: random_net((1, 1, 256), [("conv", (1, 1), (1, 1), 64)]),
    "max-pool-2x2": lambda: random_net((48, 48, 16), [("max", (2, 2), (2, 2))]),
}


def ternarised(content: bytes) -> bytes:
    """The same model with every layer's weights in {-127, 0, 127}: the smaller half of each channel becomes zero.

    It no longer computes anything useful, but is as large, and takes as long, as a ternary network of its topology.
    """
    patched = bytearray(content)
    model = tflite.Model.GetRootAsModel(patched, 0)
    graph = model.Subgraphs(0)
    for op in read_graph(content).ops:
        if isinstance(op, Weighted):
            buffer = model.Buffers(graph.Tensors(graph.Operators(op.index).Inputs(1)).Buffer())
            start = buffer._tab.Vector(buffer._tab.Offset(4))
            axes = tuple(axis for axis in range(op.weights.ndim) if axis != op.channel_axis)
            magnitude = np.abs(op.weights.astype(np.int16))
            zero = magnitude <= np.median(magnitude, axis=axes, keepdims=True)
            trits = np.where(zero, 0, np.sign(op.weights) * TERNARY).astype(np.int8)
            patched[start : start + trits.size] = trits.tobytes()
    return bytes(patched)


MODELS: dict[str, Callable[[], bytes]] = {
    "resnet8": resnet8,
    "kws": keywords,
    "ad": autoencoder,
    "resnet8-ternary": lambda: ternarised(resnet8()),
    "kws-ternary": lambda: ternarised(keywords()),
    "ad-ternary": lambda: ternarised(autoencoder()),
    "vww": visual_wake_words,
    "wake-word": wake_word,
    "fomo": fomo,
    **KINDS,
}
