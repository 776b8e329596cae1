"""The gradient view with weights that can be changed the way faults in flash change them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.linear import weighted_sums
from tritguard.attack.view import GradientView
from tritguard.graph.emission import Emission
from tritguard.graph.formats.kernel import Kernel
from tritguard.graph.model import Graph, TransposeConv, Weighted
from tritguard.graph.passes.unrolled import unrolled

Float32 = NDArray[np.float32]


class FaultView(GradientView):
    """A GradientView of the emitted graph that is also differentiable with respect to the weights.

    Most kernels have the input's zero point folded into the bias, computed for the clean weights. A faulty weight is
    therefore multiplied with x, not with x - zero point; the view computes exactly that and differentiates it. In the
    graph of a stream a layer computes once for each frame, always with the same weights.

    Args:
        emission: what the deployed C was written from.
        temperature: see GradientView.
        frames: the number of frames in a stream, for a model with state.
    """

    def __init__(self, emission: Emission, temperature: float = 1.0, frames: int = 1) -> None:
        graph, kernels = emission.graph, emission.kernels
        super().__init__(unrolled(graph, frames), temperature)
        from tritguard.train.backend import compiled, tf  # noqa: PLC0415

        layers = {graph.ops[position].symbol: position for position in kernels}
        self._layers = {
            at: layers[op.symbol]
            for at, op in enumerate(self.graph.ops)
            if isinstance(op, Weighted) and op.symbol in layers
        }
        self._lifts = {position: _lift(graph, position, kernel) for position, kernel in kernels.items()}
        self._changes = {position: tf.Variable(tf.zeros(_op(graph, position).weights.shape)) for position in kernels}
        shape = tf.TensorSpec((None, *self.input_shape), tf.float32)
        self._slopes = compiled(self._slope, [shape, tf.TensorSpec((None,), tf.int64)])

    def slopes(self, x: Float32, y: NDArray[np.int64]) -> tuple[float, dict[int, Float32]]:
        """The mean cross-entropy of x, and its flat gradient with respect to each layer's int8 weights, by position.

        Args:
            x: float32[n, *input_shape], in int8 steps.
            y: int64[n], true labels.
        """
        loss, gradients = self._slopes(x, y)
        by_layer = zip(self._changes, gradients, strict=True)
        return float(loss), {position: gradient.numpy().ravel() for position, gradient in by_layer}

    def change(self, position: int, weight: int, steps: int) -> None:
        """Add a number of int8 steps to one weight of a layer."""
        values = self._changes[position].numpy()
        values.ravel()[weight] += steps
        self._changes[position].assign(values)

    def _unit(self, op: Weighted | TransposeConv) -> int:
        """One, as faults change weights by single steps."""
        return 1

    def _sums(self, position: int, x: Any) -> Any:
        sums = super()._sums(position, x)
        if position not in self._layers:
            return sums
        tf, op, layer = self._tf, _op(self.graph, position), self._layers[position]
        centred, changes = (tf.cast(values, sums.dtype) for values in (x - op.input_zero_point, self._changes[layer]))
        return sums + weighted_sums(tf, op, centred, changes, self._lifts[layer])

    def _slope(self, x: Any, y: Any) -> Any:
        tf = self._tf
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, self._forward(x))
            loss = tf.reduce_mean(losses)
        return loss, tape.gradient(loss, list(self._changes.values()), unconnected_gradients="zero")


def _op(graph: Graph, position: int) -> Weighted:
    op = graph.ops[position]
    assert isinstance(op, Weighted)
    return op


def _lift(graph: Graph, position: int, kernel: Kernel) -> float:
    """The difference between the input that a faulty weight meets and x - zero point, in int8 steps."""
    return 0.0 if kernel.weights.centres else float(_op(graph, position).input_zero_point)
