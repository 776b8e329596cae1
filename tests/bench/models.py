"""The models of the benchmarks: MLPerf Tiny's topologies, int8 and ternary."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tflite

from tests.support.shared import shared_file
from tests.support.tflite_builder import ModelBuilder
from tritguard.graph import read_graph
from tritguard.graph.model import Weighted

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
}
