"""LSTM and SVDF on TensorFlow tensors: the kernels' integers, with the gradients of the real functions.

Rounding passes gradients on and clamping stops them, as everywhere in the view. All values are whole numbers in
float32; products and sums that it cannot hold exactly are computed in int64 or float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.integer_ops import Affine, affine_of, in_int64, straight_through
from tritguard.attack.linear import summing_dtype
from tritguard.graph.arithmetic import curve
from tritguard.graph.model import Requant
from tritguard.graph.stateful import Lstm, Recurrent, Svdf

_LOW, _HIGH = -(1 << 15), (1 << 15) - 1
_GATE_POWER = -12  # a step of the input to a gate's curve is 2 to this power
_ONE = np.float32(1 << 15)  # steps of a curve's output
_CELL = 2  # the gate that has a tanh; the others are input, forget and output
_SIGMOIDS = (0, 1, 3)
_FARTHEST = 128  # the largest absolute value of an int8 step


def recurred(tf: Any, op: Recurrent, inputs: list[Any]) -> Any:
    """float32[n, size]: the layer's output and what its next frame needs, in steps; see `Recurrent`."""
    before = inputs[1] if len(inputs) > 1 else None
    if isinstance(op.layer, Lstm):
        return _lstm(tf, op.layer, inputs[0], before)
    return _svdf(tf, op.layer, inputs[0], before)


def _lstm(tf: Any, op: Lstm, x: Any, before: Any | None) -> Any:
    depth = op.weights.shape[2] - op.units
    rows = tf.reshape(x, (-1, op.steps, depth))
    if before is None:
        state = tuple(tf.fill((tf.shape(rows)[0], op.units), float(at)) for at in (op.out.zero_point, 0))
    else:
        end = op.steps * op.units
        state = before[:, end - op.units : end], before[:, end:]
    fresh = _sums(tf, rows, op.weights[:, :, :depth], _gates(op, 0))
    if op.steps == 1:
        return tf.concat(_step(tf, op, state, fresh[:, 0]), axis=1)
    # The steps run in a loop of the graph: a long sequence with its steps unrolled would take a minute to compile.
    hidden, cells = tf.scan(lambda known, gates: _step(tf, op, known, gates), tf.transpose(fresh, (1, 0, 2, 3)), state)
    sequence = tf.reshape(tf.transpose(hidden, (1, 0, 2)), (-1, op.steps * op.units))
    return tf.concat([sequence, cells[-1]], axis=1)


def _step(tf: Any, op: Lstm, state: tuple[Any, Any], fresh: Any) -> tuple[Any, Any]:
    """The hidden state and the cell, float32[n, units] each, after a row whose sums are `fresh`."""
    hidden, cell = state
    kept = _sums(tf, hidden, op.weights[:, :, op.weights.shape[2] - op.units :], _gates(op, 1))
    gates = tf.clip_by_value(fresh + kept, float(_LOW), float(_HIGH))
    opened = tf.gather(gates, _SIGMOIDS, axis=1)
    opened = _looked_up(tf, _sigmoids(), opened, _ONE * tf.sigmoid(opened * np.float32(2.0**_GATE_POWER)))
    wanted = _tanh(tf, gates[:, _CELL], _GATE_POWER)
    forget, enter, leave = (_rescaling(each) for each in (op.forget, op.input, op.out))
    cell = _product(tf, opened[:, 1], cell, forget) + _product(tf, opened[:, 0], wanted, enter)
    low, high = (_LOW, _HIGH) if op.clip < 0 else (-op.clip, op.clip)
    cell = tf.clip_by_value(cell, float(low), float(high))
    return _product(tf, _tanh(tf, cell, op.cell_power), opened[:, 2], leave), cell


@dataclass(frozen=True, eq=False)
class _Rescaling:
    """A requantisation of sums with a bias, the same for all of them or one for each row.

    Attributes:
        requants: one, or one for each row.
        real: float32, output steps per unit of the sums: a number, or [rows, 1].
        bias: int64, broadcasts to the sums.
        affine: the rounding in a few operations, where that is exact; see `affine_of`.
    """

    requants: tuple[Requant, ...]
    real: NDArray[np.float32]
    bias: NDArray[np.int64]
    affine: Affine | None

    def __call__(self, tf: Any, sums: Any) -> Any:
        """The rescaled sums, whole numbers in float32 with real gradients; `sums` may be of any float type or int64."""
        first = self.requants[0]
        low, high = float(first.act_min), float(first.act_max)
        wide = tf.cast(sums, tf.float64) + self.bias.astype(np.float64)
        smooth = tf.cast(wide, tf.float32) * self.real + np.float32(first.zero_point)
        exact = tf.cast(self._rounded(tf, tf.stop_gradient(wide)), tf.float32)
        return straight_through(tf, tf.clip_by_value(exact, low, high), tf.clip_by_value(smooth, low, high))

    def _rounded(self, tf: Any, wide: Any) -> Any:
        if self.affine is not None:
            return self.affine(tf, wide)
        return in_int64(tf, tf.round(wide), _stacked(self.requants), 0, 1)


def _rescaled_by(requants: tuple[Requant, ...], bias: NDArray[np.int64], largest: int) -> _Rescaling:
    """The rescaling of sums whose absolute values are at most `largest`, with `affine` set where it is exact."""
    stacked = _stacked(requants)
    real = np.ldexp(stacked.multiplier.astype(np.float64), stacked.shift - 31).astype(np.float32)
    most = largest + int(np.abs(bias).max(initial=0))
    found = [affine_of(each, most, np.zeros(1, np.int64), 1) for each in requants]
    quick = [each for each in found if each is not None]
    if len(quick) < len(found):
        return _Rescaling(requants, real, bias, None)
    parts = (np.stack([getattr(each, name) for each in quick]) for name in ("factor", "above", "below", "turn"))
    return _Rescaling(requants, real, bias, Affine(*parts))


def _stacked(requants: tuple[Requant, ...]) -> Requant:
    """One requantisation with a row for each of these, whose zero points and clamps are the same."""
    multiplier, shift = (np.stack([getattr(each, name) for each in requants]) for name in ("multiplier", "shift"))
    return replace(requants[0], multiplier=multiplier, shift=shift)


@lru_cache(maxsize=64)
def _gates(op: Lstm, which: int) -> _Rescaling:
    """The rescaling of the sums of all gates over the row (0) or over the hidden state (1)."""
    columns = (op.weights.shape[2] - op.units, op.units)[which]
    requants = tuple(pair[which] for pair in op.sums)
    return _rescaled_by(requants, op.bias[:, :, which].astype(np.int64), columns * _FARTHEST**2)


@lru_cache(maxsize=64)
def _rescaling(requant: Requant) -> _Rescaling:
    """The rescaling of the product of two 16-bit numbers."""
    return _rescaled_by((requant,), np.zeros(1, np.int64), _LOW**2)


def _sums(tf: Any, x: Any, weights: NDArray[Any], rescaling: _Rescaling) -> Any:
    """The sums of all gates over x, float32[..., columns], rescaled to what their curves take: [..., gates, units]."""
    gates, units, columns = weights.shape
    sums = _dot(tf, x, weights.reshape(-1, columns))
    return rescaling(tf, tf.reshape(sums, (tf.shape(x)[0], *x.shape[1:-1], gates, units)))


def _dot(tf: Any, x: Any, weights: NDArray[Any]) -> Any:
    """The sums of x, int8 steps in float32[..., columns], times int8[rows, columns]: whole numbers [..., rows]."""
    dtype = summing_dtype(weights.shape[1] * _FARTHEST**2)
    return tf.matmul(tf.cast(x, dtype), tf.constant(weights.T.astype(dtype)))


def _product(tf: Any, a: Any, b: Any, rescaling: _Rescaling) -> Any:
    """The product of 16-bit whole numbers, rescaled."""
    return rescaling(tf, tf.cast(a, tf.float64) * tf.cast(b, tf.float64))


@cache
def _sigmoids() -> NDArray[np.float32]:
    """float32[65536]: the sigmoid of every 16-bit number."""
    return curve.sigmoid(np.arange(_LOW, _HIGH + 1)).astype(np.float32)


@cache
def _tangents(power: int) -> NDArray[np.float32]:
    """float32[65536]: the tanh of every 16-bit number, a count of steps of 2^power."""
    return curve.hyperbolic(np.arange(_LOW, _HIGH + 1), power).astype(np.float32)


def _tanh(tf: Any, x: Any, power: int) -> Any:
    return _looked_up(tf, _tangents(power), x, _ONE * tf.tanh(x * np.float32(2.0**power)))


def _looked_up(tf: Any, table: NDArray[np.float32], x: Any, smooth: Any) -> Any:
    places = tf.cast(tf.stop_gradient(x) - float(_LOW), tf.int32)
    return straight_through(tf, tf.gather(tf.constant(table), places), smooth)


def _svdf(tf: Any, op: Svdf, x: Any, before: Any | None) -> Any:
    filters, memory = op.time.shape
    units, start = len(op.bias), float(op.seen.zero_point)
    flat = tf.reshape(x, (-1, op.weights.shape[1]))
    if before is None:
        earlier = tf.fill((tf.shape(flat)[0], filters, memory - 1), start)
    else:
        earlier = tf.reshape(before[:, units:], (-1, filters, memory))[:, :, 1:]
    seen, weighed = _filters(op)
    latest = seen(tf, _dot(tf, flat, op.weights)) + start
    if op.time.dtype == np.int8:  # the zero point is added after the clamp, and the sum wraps
        wrapped = tf.math.floormod(latest + _FARTHEST, 2.0 * _FARTHEST) - _FARTHEST
        latest = straight_through(tf, wrapped, latest)
    state = tf.concat([earlier, latest[:, :, None]], axis=2)
    products = tf.cast(state - start, tf.float64) * op.time.astype(np.float64)
    sums = tf.reduce_sum(tf.reshape(products, (-1, units, filters // units * memory)), axis=2)
    return tf.concat([weighed(tf, sums), tf.reshape(state, (-1, filters * memory))], axis=1)


@lru_cache(maxsize=64)
def _filters(op: Svdf) -> tuple[_Rescaling, _Rescaling]:
    """The rescaling of what a filter sees, without the zero point, and that of the output."""
    seen = replace(op.seen, zero_point=0)
    farthest = 2 * _FARTHEST if op.time.dtype == np.int8 else -_LOW
    most = int(np.abs(op.time.astype(np.int64)).reshape(len(op.bias), -1).sum(axis=1).max()) * farthest
    return (
        _rescaled_by((seen,), op.offset.astype(np.int64), op.weights.shape[1] * _FARTHEST**2),
        _rescaled_by((op.requant,), op.bias.astype(np.int64), most),
    )
