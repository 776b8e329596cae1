"""MLPerf Tiny's ResNet8 with a branch that never changes anything, written anew op by op."""

from __future__ import annotations

import numpy as np

from tests.support.tflite_builder import ModelBuilder, Quant
from tritguard.graph import read_graph
from tritguard.graph.model import Add, Conv2D, FullyConnected, Graph, Op, Pool2D, Reshape, Softmax

_DEAD_SCALE = 18_000.0  # a step of the branch's output; its sums stay below half of it: 27 * 255 * 127 * 0.01


def with_dead_branch(content: bytes) -> bytes:
    """The same network, whose first layer's output gets a convolution of the input added that always rounds to zero.

    All outputs stay as they are. The gradient of the view passes through the branch all the same, and is far larger
    than that of the network.

    Args:
        content: the int8 `.tflite` of ResNet8.
    """
    graph = read_graph(content)
    source = graph.tensors[graph.input]
    builder = ModelBuilder(source.shape, source.scale, source.zero_point)
    made = {graph.input: builder.input}
    for place, op in enumerate(graph.ops):
        made[op.output] = _again(builder, graph, op, [made[tensor] for tensor in op.inputs])
        if place == 0:
            assert isinstance(op, Conv2D)
            weights = np.random.default_rng(7).integers(-127, 128, op.weights.shape).astype(np.int8)
            dead = builder.conv(builder.input, weights, [0.01] * len(weights), None, (_DEAD_SCALE, 0))
            made[op.output] = builder.add(made[op.output], dead, _quant(graph, op.output), "RELU")
    return builder.build(made[graph.output])


def _quant(graph: Graph, tensor: int) -> Quant:
    return graph.tensors[tensor].scale, graph.tensors[tensor].zero_point


def _again(builder: ModelBuilder, graph: Graph, op: Op, inputs: list[int]) -> int:
    out, shape = _quant(graph, op.output), graph.tensors[op.output].shape
    if isinstance(op, Conv2D):
        scales = [float(scale) for scale in op.weight_scale]
        same = graph.tensors[op.inputs[0]].shape[0] == op.out_shape[0] * op.window.stride[0]
        return builder.conv(
            inputs[0], op.weights, scales, op.bias, out, stride=op.window.stride, same=same,
            activation="RELU" if op.requant.act_min == out[1] else "NONE",
        )  # fmt: skip
    if isinstance(op, Add):
        return builder.add(inputs[0], inputs[1], out, "RELU" if op.requant.act_min == out[1] else "NONE")
    if isinstance(op, Pool2D):
        return builder.pool(inputs[0], "AVERAGE", op.window.kernel, op.window.stride, False, "NONE")
    if isinstance(op, Reshape):
        return builder.reshape(inputs[0], shape)
    if isinstance(op, Softmax):
        return builder.softmax(inputs[0])
    assert isinstance(op, FullyConnected)
    return builder.dense(inputs[0], op.weights, [float(scale) for scale in op.weight_scale], op.bias, out)
