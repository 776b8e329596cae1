"""The view with every rounding, clamp, maximum, minimum and table averaged over what it really sees inside the ball.

Straight-through gradients take a rounding for the identity. They are wrong where a value is rounded to the same step
throughout the ball, as in a branch that is added and never changes, and they vanish where a clamp holds at the point
but not around it. Here a layer's slope is that of its rounding and clamp averaged over a normal distribution, whose
width for each element is measured: by how much the layer's real-valued output varies over random inputs of the ball.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.attack.averages import average_table, averaged, between, clamped, within
from tritguard.attack.base import Ball
from tritguard.attack.integer_ops import straight_through
from tritguard.attack.view import GradientView, range_of
from tritguard.graph.arithmetic.fixed_point import INT8_MAX, INT8_MIN
from tritguard.graph.model import Graph, Lookup, Op
from tritguard.predictor import Int8

Float32 = NDArray[np.float32]

_SAMPLES = 16  # samples around which widths are measured; fewer if all values of all layers take too much memory
_MEMORY, _BYTES = 1 << 28, 8  # bytes for all of these values, and for one of them, before and after rounding
_MOVES = 12  # random corners of the ball around each sample
_NARROW = 0.5  # steps; a distribution that is wider sees roundings as the identity
_LEAST = 1e-4  # steps; the smallest width


class SmoothedView(GradientView):
    """The deployed network with measured slopes; all its values are exact, as in `GradientView`.

    Args:
        graph: the deployed model.
        probes: int8[samples, moves, *input_shape], inputs of the ball around some samples.
        reach: how much farther than these random inputs an attack drives a layer: widths are multiplied by it. An
            element that none of the inputs changes gets no gradient at all, unless a clamp holds it and `reach` is
            above 1.
        temperature: see `GradientView`.
    """

    def __init__(self, graph: Graph, probes: Int8, reach: float, temperature: float = 1.0) -> None:
        super().__init__(graph, temperature)
        ends = {op.output: range_of(op) for op in graph.ops}
        seen = Watching(graph).run(probes.reshape(-1, *probes.shape[2:]))
        self._widths, self._fixed = {}, {}
        for tensor, (smooth, exact) in seen.items():
            around = smooth.reshape(*probes.shape[:2], *smooth.shape[1:])
            measured = reach * np.sqrt(around.var(axis=1).mean(axis=0))
            self._widths[tensor] = np.maximum(measured, _LEAST)
            steps = exact.reshape(*probes.shape[:2], *exact.shape[1:])
            still = (steps == steps[:, :1]).all(axis=(0, 1))
            self._fixed[tensor] = still if reach <= 1 else still & ~np.isin(steps, ends[tensor]).any(axis=(0, 1))
        self._input_width = float(reach * probes.astype(np.float64).std(axis=1).mean())

    @override
    def _computed(self, position: int, inputs: list[Any]) -> tuple[Any, Callable[[], Any] | None]:
        smooth, exact = super()._computed(position, inputs)
        tf, op = self._tf, self.graph.ops[position]
        if isinstance(op, Lookup):
            slopes = tf.constant(table_slopes(op, self._width(op.inputs[0])).astype(np.float32))
            return tf.gather(slopes, tf.cast(tf.stop_gradient(inputs[0]) - INT8_MIN, tf.int32)) * inputs[0], exact
        average = averaged(tf, self.graph, op, inputs, self._width)
        if average is None:
            return smooth, exact
        return average, exact or partial(_rounded, tf, smooth, op)

    def _width(self, tensor: int) -> float:
        """The mean width of a tensor's elements in steps; the input's for a tensor that only holds moved values."""
        return float(np.mean(self._widths[tensor])) if tensor in self._widths else self._input_width

    @override
    def _on_grid(self, smooth: Any, exact: Callable[[], Any] | None, op: Op) -> Any:
        if op.output not in self._widths:
            return super()._on_grid(smooth, exact, op)
        tf = self._tf
        low, high = range_of(op)
        values = _rounded(tf, smooth, op) if exact is None else exact()
        if within(op):
            return straight_through(tf, values, smooth)
        slope = tf.stop_gradient(_slopes(tf, smooth, self._widths[op.output].astype(np.float32), low, high))
        return straight_through(tf, values, slope * np.where(self._fixed[op.output], 0, 1).astype(np.float32) * smooth)


class RelaxedView(GradientView):
    """The network with every layer averaged over what it may meet in the ball: its values are no longer exact.

    Slopes at exact values say nothing of what lies behind a unit that is at zero there, or of the product of two such
    units, and no width can be measured behind them. Here each layer passes on the average of its clamp, so that
    what such units would do is seen by the layers behind them. Each layer's width is measured on averages too.

    Args:
        graph, probes, temperature: see `SmoothedView`.
        reach: how much farther than the probes an attack drives a layer; widths are multiplied by it.

    Attributes:
        widths: by output tensor, float32[*shape] in steps, how far the sums of each element vary.
    """

    def __init__(self, graph: Graph, probes: Int8, reach: float, temperature: float = 1.0) -> None:
        super().__init__(graph, temperature)
        self._reach, self._around = reach, probes.shape[:2]
        self._noted: dict[int, Any] = {}
        self.widths = {graph.input: self._measured(probes.reshape(-1, *probes.shape[2:]).astype(np.float32))}
        self._spans = {graph.input: float(self.widths[graph.input].mean())}
        self._measuring = True
        self._forward(self._tf.constant(probes.reshape(-1, *probes.shape[2:]).astype(np.float32)))
        self._measuring = False

    def slopes(self, x: Float32, elements: Sequence[tuple[int, int]]) -> list[Float32]:
        """The gradients of elements of layers, before their clamps: float32[n, *input_shape] each.

        Args:
            x: float32[n, *input_shape], in steps.
            elements: for each, the output tensor of its layer and its place in that.
        """
        tf = self._tf
        with tf.GradientTape(persistent=True) as tape:
            inputs = tf.constant(x)
            tape.watch(inputs)
            self._noted = {}
            self._forward(inputs)
            sums = [tf.reshape(self._noted[tensor], (len(x), -1))[:, place] for tensor, place in elements]
        return [np.asarray(tape.gradient(each, inputs)) for each in sums]

    def _measured(self, values: Float32) -> Float32:
        """float32[*shape]: the width of each element of values float32[samples * moves, *shape]."""
        around = values.reshape(*self._around, *values.shape[1:])
        measured = self._reach * np.sqrt(around.var(axis=1).mean(axis=0))
        return np.asarray(np.maximum(measured, _NARROW), np.float32)

    @override
    def _computed(self, position: int, inputs: list[Any]) -> tuple[Any, Callable[[], Any] | None]:
        tf, op = self._tf, self.graph.ops[position]
        if isinstance(op, Lookup):
            return between(tf, average_table(op, self._spans[op.inputs[0]]), inputs[0]), None
        average = averaged(tf, self.graph, op, inputs, self._spans.__getitem__)
        return super()._computed(position, inputs)[0] if average is None else average, None

    @override
    def _on_grid(self, smooth: Any, exact: Callable[[], Any] | None, op: Op) -> Any:
        clamps = not self.moves(op) and not within(op)
        self._noted[op.output] = smooth
        if self._measuring and clamps:
            self.widths[op.output] = self._measured(smooth.numpy())
        low, high = map(float, range_of(op))
        values = clamped(self._tf, smooth, self.widths[op.output], low, high) if clamps else smooth
        if self._measuring:
            self._spans[op.output] = float(self._measured(values.numpy()).mean())
        return values


class Watching(GradientView):
    """The view, run once to see each layer before and after it is put on the grid."""

    def run(self, x: Int8) -> dict[int, tuple[Float32, Float32]]:
        """The real-valued and the exact steps of each output tensor, float32[n, *shape], for int8[n, *input_shape]."""
        self._seen: dict[int, tuple[Float32, Float32]] = {}
        self._forward(self._tf.constant(x.astype(np.float32)))
        return self._seen

    @override
    def _on_grid(self, smooth: Any, exact: Callable[[], Any] | None, op: Op) -> Any:
        placed = super()._on_grid(smooth, exact, op)
        if not self.moves(op):
            self._seen[op.output] = smooth.numpy(), placed.numpy()
        return placed


@lru_cache(maxsize=16)
def smoothed(view: GradientView, around: bytes, ball: Ball, reach: float) -> SmoothedView:
    """The smoothed view for a ball, cached because each compiles gradients of its own.

    Args:
        view: the view of the deployed model.
        around: int8[samples, *input_shape] as bytes, the samples around which the variation of layers is measured.
        ball: what attacks may use.
        reach: see `SmoothedView`.
    """
    return SmoothedView(view.graph, _probes(view, around, ball), reach, view.temperature)


@lru_cache(maxsize=8)
def relaxed(view: GradientView, around: bytes, ball: Ball, reach: float) -> RelaxedView:
    """The relaxed view for a ball; see `smoothed`."""
    return RelaxedView(view.graph, _probes(view, around, ball), reach, view.temperature)


def _probes(view: GradientView, around: bytes, ball: Ball) -> Int8:
    """Random corners of the ball around some samples: int8[samples, moves, *input_shape]."""
    values = sum(tensor.size for tensor in view.graph.tensors.values())
    fit = max(2, _MEMORY // (_MOVES * values * _BYTES))
    clean = np.frombuffer(around, np.int8).reshape(-1, *view.input_shape)[: min(_SAMPLES, fit)]
    wide = np.repeat(clean, _MOVES, axis=0)
    moved = wide + ball.geometry.to_edge(np.random.default_rng(0), wide.astype(np.float64), ball.eps)
    return ball.to_grid(moved, wide).reshape(len(clean), _MOVES, *view.input_shape)


def _rounded(tf: Any, smooth: Any, op: Op) -> Any:
    low, high = range_of(op)
    return tf.round(tf.clip_by_value(smooth, float(low), float(high)))


def table_slopes(op: Lookup, width: float) -> NDArray[np.float64]:
    """float64[256]: the slope of a table around each input, by weighted least squares over a normal distribution."""
    steps = np.arange(INT8_MIN, INT8_MAX + 1, dtype=np.float64)
    apart = steps - steps[:, None]
    weights = np.exp(-0.5 * (apart / max(width, 1.0)) ** 2)
    mean = (weights * apart).sum(axis=1, keepdims=True) / weights.sum(axis=1, keepdims=True)
    values = op.table.ravel().astype(np.float64)
    return np.asarray((weights * (apart - mean) * values).sum(axis=1) / (weights * (apart - mean) ** 2).sum(axis=1))


def _slopes(tf: Any, smooth: Any, width: Any, low: int, high: int) -> Any:
    """The slope of rounding and clamping, averaged over a normal distribution around each value."""
    wide = np.maximum(width, _NARROW).astype(np.float32)

    def below(bound: float) -> Any:
        return 0.5 * (1 + tf.math.erf((bound - smooth) / (wide * np.float32(np.sqrt(2)))))

    averaged = below(high + 0.0) - below(low + 0.0)
    step = tf.floor(tf.clip_by_value(smooth, low + 0.0, high - 1.0)) + 0.5
    density = tf.exp(-0.5 * ((smooth - step) / width) ** 2) / (width * np.float32(np.sqrt(2 * np.pi)))
    return tf.where(width < _NARROW, density, averaged)
