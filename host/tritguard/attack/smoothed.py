"""The view with every rounding, clamp, maximum, minimum and table as smooth as what it really sees inside the ball.

Straight-through gradients take a rounding for the identity. They are wrong where a value is rounded to the same step
throughout the ball, as in a branch that is added and never changes, and they vanish where a clamp holds at the point
but not around it. Here a layer's slope is that of its rounding and clamp averaged over a normal distribution, whose
width for each element is measured: by how much the layer's real-valued output varies over random inputs of the ball.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.attack.base import Ball
from tritguard.attack.integer_ops import laid, straight_through
from tritguard.attack.view import GradientView, range_of
from tritguard.graph.arithmetic.fixed_point import INT8_MAX, INT8_MIN
from tritguard.graph.model import Binary, Graph, Lookup, Op
from tritguard.predictor import Int8

Float32 = NDArray[np.float32]

_SAMPLES = 16  # around which widths are measured, fewer if all values of all layers take too much memory
_MEMORY, _BYTES = 1 << 28, 8  # bytes that they may take, and that one value takes before and after rounding
_MOVES = 12  # random corners of the ball around each
_NARROW = 0.5  # steps; a distribution that is wider sees roundings as the identity
_LEAST = 1e-4  # steps


class SmoothedView(GradientView):
    """The deployed network with measured slopes; all its values are exact, as in `GradientView`.

    Args:
        graph: the deployed model.
        probes: int8[samples, moves, *input_shape], inputs of the ball around some samples.
        reach: how much farther than these random inputs an attack drives a layer: widths are multiplied by it. An
            element that none of the inputs changes gets no gradient at all, unless a clamp holds it and `reach` is
            above 1.
        temperature: see `GradientView`.
        loose: take nothing for fixed, as what random inputs leave unchanged may still change elsewhere in the ball.
    """

    def __init__(
        self, graph: Graph, probes: Int8, reach: float, temperature: float = 1.0, *, loose: bool = False
    ) -> None:
        super().__init__(graph, temperature)
        ends = {op.output: range_of(op) for op in graph.ops}
        seen = Watching(graph).run(probes.reshape(-1, *probes.shape[2:]))
        self._widths, self._fixed = {}, {}
        for tensor, (smooth, exact) in seen.items():
            around = smooth.reshape(*probes.shape[:2], *smooth.shape[1:])
            measured = reach * np.sqrt(around.var(axis=1).mean(axis=0))
            self._widths[tensor] = np.maximum(measured, _NARROW if loose else _LEAST)
            steps = exact.reshape(*probes.shape[:2], *exact.shape[1:])
            still = (steps == steps[:, :1]).all(axis=(0, 1)) & (not loose)
            self._fixed[tensor] = still if reach <= 1 else still & ~np.isin(steps, ends[tensor]).any(axis=(0, 1))
        self._input_width = float(reach * probes.astype(np.float64).std(axis=1).mean())

    @override
    def _computed(self, position: int, inputs: list[Any]) -> tuple[Any, Callable[[], Any] | None]:
        smooth, exact = super()._computed(position, inputs)
        tf, op = self._tf, self.graph.ops[position]
        if isinstance(op, Binary) and op.operator in ("MAXIMUM", "MINIMUM"):
            return self._mixed(op, inputs), exact
        if not isinstance(op, Lookup):
            return smooth, exact
        width = self._width(op.inputs[0])
        slopes = tf.constant(table_slopes(op, width).astype(np.float32))
        here = tf.gather(slopes, tf.cast(tf.stop_gradient(inputs[0]) - INT8_MIN, tf.int32))
        return here * inputs[0], exact

    def _width(self, tensor: int) -> float:
        """The mean width of a tensor's elements in steps; that of the input for one that only moves values of it."""
        return float(np.mean(self._widths[tensor])) if tensor in self._widths else self._input_width

    def _mixed(self, op: Binary, inputs: list[Any]) -> Any:
        """The output of a maximum or minimum in steps, of which each operand has the share in which it is chosen."""
        tf, tensors = self._tf, self.graph.tensors
        constants = [
            None if each is None else ((each.values.astype(np.float32) - zero_point) * each.scale).astype(np.float32)
            for each, zero_point in zip(op.constants, op.zero_points, strict=True)
        ]
        reals = [
            (x - tensors[at].zero_point) * np.float32(tensors[at].scale)
            for at, x in zip(op.inputs, inputs, strict=True)
        ]
        one, other = laid(tf, op, reals, constants)
        width = np.linalg.norm([self._width(tensor) * tensors[tensor].scale for tensor in op.inputs])
        apart = (one - other) / np.float32(width * np.sqrt(2))
        share = tf.stop_gradient(0.5 * (1 + tf.math.erf(apart if op.operator == "MAXIMUM" else -apart)))
        sink = tensors[op.output]
        return tf.reshape(share * one + (1 - share) * other, (-1, *sink.shape)) / sink.scale + sink.zero_point

    @override
    def _on_grid(self, smooth: Any, exact: Callable[[], Any] | None, op: Op) -> Any:
        if op.output not in self._widths:
            return super()._on_grid(smooth, exact, op)
        tf = self._tf
        low, high = range_of(op)
        values = tf.round(tf.clip_by_value(smooth, float(low), float(high))) if exact is None else exact()
        if isinstance(op, Lookup):
            return straight_through(tf, values, smooth)
        slope = tf.stop_gradient(_slopes(tf, smooth, self._widths[op.output].astype(np.float32), low, high))
        return straight_through(tf, values, slope * np.where(self._fixed[op.output], 0, 1).astype(np.float32) * smooth)


class Watching(GradientView):
    """The view, run once to see each layer before and after it is put on the grid."""

    def run(self, x: Int8) -> dict[int, tuple[Float32, Float32]]:
        """By output tensor, float32[n, *shape] in steps: real-valued, and exact; for int8[n, *input_shape]."""
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
def smoothed(view: GradientView, around: bytes, ball: Ball, reach: float, *, loose: bool = False) -> SmoothedView:
    """The smoothed view for a ball, cached because each compiles gradients of its own.

    Args:
        view: the view of the deployed model.
        around: int8[samples, *input_shape] as bytes, around which it is measured how much layers vary.
        ball: what attacks may use.
        reach, loose: see `SmoothedView`.
    """
    values = sum(tensor.size for tensor in view.graph.tensors.values())
    fit = max(2, _MEMORY // (_MOVES * values * _BYTES))
    clean = np.frombuffer(around, np.int8).reshape(-1, *view.input_shape)[: min(_SAMPLES, fit)]
    wide = np.repeat(clean, _MOVES, axis=0)
    moved = wide + ball.geometry.to_edge(np.random.default_rng(0), wide.astype(np.float64), ball.eps)
    probes = ball.to_grid(moved, wide).reshape(len(clean), _MOVES, *view.input_shape)
    return SmoothedView(view.graph, probes, reach, view.temperature, loose=loose)


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
