"""Ops averaged over a normal distribution of their inputs, which smooths out their edges.

What a maximum, a saturated softmax or a clamp does at one point says little about what it does nearby. Its average over
the values that it may meet has a gradient wherever an input within reach would change its output.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.integer_ops import laid, reduced, straight_through
from tritguard.attack.view import pooled
from tritguard.graph.arithmetic.fixed_point import INT8_MAX, INT8_MIN
from tritguard.graph.model import Binary, Graph, Lookup, Op, Pool2D, Reduce, Softmax

_LEAST = 0.5  # the smallest width in steps, because rounding alone spreads values that far

Width = Callable[[int], float]  # maps a tensor to the standard deviation of its elements, in steps


def averaged(tf: Any, graph: Graph, op: Op, inputs: list[Any], width: Width) -> Any:
    """The average of an op that chooses among its inputs, in steps; None for all other ops.

    Args:
        tf: TensorFlow.
        graph: the network.
        op: one of its ops; for tables see `average_table`.
        inputs: the values of its inputs in steps, [n, *shape].
        width: gives the width of a tensor.
    """
    if isinstance(op, Binary) and op.operator in _CHOICES:
        return _chosen(tf, graph, op, inputs, width)
    if isinstance(op, Softmax):
        return _softmax(tf, graph, op, inputs[0], width)
    if isinstance(op, Pool2D) and op.mode == "max":
        return _highest(tf, partial(pooled, op, tf.nn.avg_pool2d), inputs[0], width(op.inputs[0]))
    if isinstance(op, Reduce) and op.function in ("REDUCE_MAX", "REDUCE_MIN"):
        sign = 1.0 if op.function == "REDUCE_MAX" else -1.0
        elements = sign * reduced(tf, op, inputs[0])
        most = _highest(tf, lambda x: tf.reduce_mean(x, axis=2), elements, width(op.inputs[0]))
        return sign * tf.reshape(most, (-1, *graph.tensors[op.output].shape))
    return None


def within(op: Op) -> bool:
    """Whether the average of an op or a table needs no clamp: it lies in the range of the inputs or of the grid."""
    if isinstance(op, Pool2D):
        return op.mode == "max"
    if isinstance(op, Reduce):
        return op.function in ("REDUCE_MAX", "REDUCE_MIN")
    return isinstance(op, Lookup | Softmax)


def clamped(tf: Any, x: Any, width: Any, low: float, high: float) -> Any:
    """The average of a clamp to low..high over normal distributions of these widths around x.

    Its gradient is the share that is not clamped. It is given explicitly, because the longer formula that TensorFlow
    would derive for it takes many times as long.
    """
    below, above = (low - x) / width, (high - x) / width
    under, upto = _share(tf, below), _share(tf, above)
    held = low * under + high * (1 - upto)
    average = held + x * (upto - under) + width * (_density(tf, below) - _density(tf, above))
    return straight_through(tf, average, tf.stop_gradient(upto - under) * x)


def average_table(op: Lookup, width: float) -> NDArray[np.float32]:
    """float32[256]: a table averaged over a normal distribution around each input."""
    steps = np.arange(INT8_MIN, INT8_MAX + 1, dtype=np.float64)
    weights = np.exp(-0.5 * ((steps - steps[:, None]) / max(width, _LEAST)) ** 2)
    return np.asarray(weights @ op.table.ravel() / weights.sum(axis=1), np.float32)


def between(tf: Any, table: NDArray[np.float32], x: Any) -> Any:
    """A table of 256 entries at real-valued steps x, interpolated linearly between neighbouring entries."""
    below = tf.floor(tf.clip_by_value(tf.stop_gradient(x), float(INT8_MIN), INT8_MAX - 1.0))
    place = tf.cast(below - INT8_MIN, tf.int32)
    rise = (table[1:] - table[:-1]).astype(np.float32)
    return tf.gather(table, place) + tf.gather(rise, place) * (x - below)


def _share(tf: Any, x: Any) -> Any:
    return 0.5 * (1 + tf.math.erf(x / np.float32(np.sqrt(2))))


def _density(tf: Any, x: Any) -> Any:
    return tf.exp(-0.5 * x**2) / np.float32(np.sqrt(2 * np.pi))


def _above(tf: Any, x: Any, width: Any) -> Any:
    """The average of max(x, 0); its slope is the share above 0, as in `clamped`."""
    standard = x / width
    share = _share(tf, standard)
    return straight_through(tf, x * share + width * _density(tf, standard), tf.stop_gradient(share) * x)


def _chosen(tf: Any, graph: Graph, op: Binary, inputs: list[Any], width: Width) -> Any:
    """MAXIMUM and MINIMUM (Clark 1961, The greatest of a finite set of random variables) and PRELU."""
    tensors = graph.tensors
    constants = [
        None if each is None else ((each.values.astype(np.float32) - zero_point) * each.scale).astype(np.float32)
        for each, zero_point in zip(op.constants, op.zero_points, strict=True)
    ]
    reals = [
        (x - tensors[at].zero_point) * np.float32(tensors[at].scale) for at, x in zip(op.inputs, inputs, strict=True)
    ]
    one, other = laid(tf, op, reals, constants)
    widths = [max(width(tensor), _LEAST) * tensors[tensor].scale for tensor in op.inputs]
    sink = tensors[op.output]
    chosen = _CHOICES[op.operator](tf, one, other, widths)
    return tf.reshape(chosen, (-1, *sink.shape)) / np.float32(sink.scale) + sink.zero_point


def _prelu(tf: Any, x: Any, slope: Any, widths: list[float]) -> Any:
    above = _above(tf, x, np.float32(widths[0]))
    return above + slope * (x - above)


_CHOICES: dict[str, Callable[[Any, Any, Any, list[float]], Any]] = {
    "MAXIMUM": lambda tf, a, b, widths: b + _above(tf, a - b, np.float32(np.linalg.norm(widths))),
    "MINIMUM": lambda tf, a, b, widths: b - _above(tf, b - a, np.float32(np.linalg.norm(widths))),
    "PRELU": _prelu,
}


def _softmax(tf: Any, graph: Graph, op: Softmax, x: Any, width: Width) -> Any:
    """A softmax whose beta falls as its inputs spread, as in the average of a sigmoid (MacKay 1992)."""
    source, sink = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    spread = op.beta * max(width(op.inputs[0]), _LEAST) * source.scale
    beta = np.float32(op.beta / np.sqrt(1 + np.pi / 4 * spread**2))
    return tf.nn.softmax(beta * (x - source.zero_point) * np.float32(source.scale)) / sink.scale + sink.zero_point


def _highest(tf: Any, mean: Callable[[Any], Any], x: Any, width: float) -> Any:
    """The log-mean-exp of values: near their mean where they differ by less than the width, else near the highest.

    The exponent goes down to -510, which float64 still holds.
    """
    wide = max(width, _LEAST)
    exponentials = tf.exp((tf.cast(x, tf.float64) - INT8_MAX) / wide)
    return tf.cast(wide * tf.math.log(mean(exponentials)) + INT8_MAX, tf.float32)
