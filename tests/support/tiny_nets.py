"""Networks of three inputs, whose whole ball can be tried, and what the deployed integers say of any input."""

from __future__ import annotations

from functools import reduce
from itertools import product

import numpy as np
from numpy.typing import NDArray

from tests.support.tflite_builder import ModelBuilder
from tritguard.attack import Ball
from tritguard.certify.box import Region
from tritguard.certify.splitting import Answer
from tritguard.graph.arithmetic.reference import computed
from tritguard.graph.model import Graph, Int8
from tritguard.predictor import LabelRule

INPUTS, HIDDEN = 3, 6


def tiny_net(seed: int, classes: int = 4) -> bytes:
    """A dense network, linear for every fourth seed; scales, activations and heads differ from seed to seed.

    Every third has a softmax; with one class it is a logit with a threshold.
    """
    rng = np.random.default_rng(seed)
    builder = ModelBuilder((INPUTS,), 0.05, 0)
    tensor, width = builder.input, INPUTS
    one_scale = rng.random() < 0.5

    def scales(count: int) -> list[float]:
        return [0.01] * count if one_scale else [float(np.float32(s)) for s in rng.uniform(0.003, 0.01, count)]

    if seed % 4:
        weights = rng.integers(-127, 128, (HIDDEN, INPUTS), dtype=np.int8)
        if seed % 4 == 2:
            weights = (np.sign(weights) * (np.abs(weights) > 40) * 127).astype(np.int8)
        bias = rng.integers(-3000, 3000, HIDDEN).astype(np.int32)
        activation = "RELU6" if rng.random() < 0.3 else "RELU"
        tensor, width = builder.dense(tensor, weights, scales(HIDDEN), bias, (0.08, -128), activation), HIDDEN
        if rng.random() < 0.5:
            tensor = builder.unary("TANH", tensor, (1 / 128, 0))
    weights = rng.integers(-127, 128, (classes, width), dtype=np.int8)
    out = (float(np.float32(builder.quant(tensor)[0] * rng.choice([1, 3]))), int(rng.integers(-20, 20)))
    tensor = builder.dense(tensor, weights, scales(classes), rng.integers(-1000, 1000, classes).astype(np.int32), out)
    return builder.build(builder.softmax(tensor) if seed % 3 == 0 and classes > 1 else tensor)


def every_tensor(graph: Graph, x: Int8) -> dict[int, Int8]:
    """What each tensor is for one input, int8[*input_shape], by the reference of each op."""
    values = {graph.input: x}
    for op in graph.ops:
        values[op.output] = computed(op, [values[tensor] for tensor in op.inputs], graph.tensors)
    return values


def scores_of(graph: Graph, x: Int8) -> Int8:
    """int8[n, k]: the scores of inputs, int8[n, *input_shape]."""
    return np.stack([every_tensor(graph, one)[graph.output].ravel() for one in x])


def answers_of(graph: Graph) -> Answer:
    """The labels of the deployed integers."""
    sink = graph.tensors[graph.output]
    rule = LabelRule.of(sink.shape, sink.scale, sink.zero_point)

    def answer(x: Int8) -> NDArray[np.int64]:
        scores = scores_of(graph, x)
        if rule.threshold_steps is not None:
            return np.asarray(scores[:, 0] > rule.threshold_steps, np.int64)
        return np.asarray(scores.argmax(axis=1), np.int64)

    return answer


def close_calls(graph: Graph, seed: int, count: int) -> Int8:
    """int8[count, 3]: of random inputs, some whose two largest scores are close, and some where they are less so."""
    x = np.random.default_rng(seed).integers(-100, 128, (120, INPUTS)).astype(np.int8)
    ordered = np.sort(scores_of(graph, x).astype(int), axis=1)
    margins = ordered[:, -1] - ordered[:, -2] if ordered.shape[1] > 1 else np.abs(ordered[:, 0])
    return x[np.argsort(margins)[:: len(x) // (2 * count)][:count]]


def whole_ball(ball: Ball, clean: Int8) -> Int8:
    """int8[k, 3]: all inputs that the attacker may use for a clean one, int8[3]."""
    box = Region.of(ball, clean[None]).box
    sides = [range(low, high + 1) for low, high in zip(box.low[0], box.high[0], strict=True)]
    points = np.array(list(product(*sides)), np.int8)
    return points[ball.distances(points, np.repeat(clean[None], len(points), axis=0)) <= ball.eps]


def random_of(ball: Ball, clean: Int8, rng: np.random.Generator) -> list[Int8]:
    """Inputs of a ball around clean ones, int8[n, ...]: inside, at corners of its box, at its edge."""
    box = Region.of(ball, clean).box
    within = rng.integers(box.low, box.high + 1).astype(np.int8)
    corner = np.where(rng.random(clean.shape) < 0.5, box.low, box.high).astype(np.float64)
    edge = ball.geometry.to_edge(rng, clean.astype(np.float64), max(ball.eps, 1))
    return [ball.to_grid(np.asarray(each, np.float64), clean) for each in (within, corner, edge)]


def outside(low: NDArray[np.int64], high: NDArray[np.int64], value: Int8) -> bool:
    """Whether any element lies outside its bounds."""
    return bool(reduce(np.logical_or, (value.reshape(low.shape) < low, value.reshape(low.shape) > high)).any())


def tiny_model() -> bytes:
    """A net that takes the emulator a few milliseconds an inference."""
    rng = np.random.default_rng(3)
    builder = ModelBuilder((6, 6, 1), 1 / 255, -128)
    weights = (rng.integers(-1, 2, (4, 3, 3, 1)) * 127).astype(np.int8)
    tensor = builder.conv(builder.input, weights, [0.02] * 4, None, (0.05, -128), stride=(2, 2), activation="RELU")
    tensor = builder.mean(tensor, (0.05, -128), keep_dims=False)
    return builder.build(builder.dense(tensor, rng.integers(-127, 128, (3, 4), dtype=np.int8), [0.01], None, (0.05, 0)))
