"""The kernels' integer arithmetic on TensorFlow tensors, which makes the gradient view's forward pass exact.

Whole numbers are held in float32 or float64, which add and multiply them without error as long as they fit the
mantissa. Nothing here has a gradient: `straight_through` takes the gradient from real arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tritguard.attack.linear import summing_dtype
from tritguard.graph.arithmetic.fixed_point import INT8_MAX, INT8_MIN, requantise
from tritguard.graph.arithmetic.reference import elementwise, pairwise
from tritguard.graph.model import (
    RESIZE_ONE,
    Add,
    BatchMatMul,
    Binary,
    Float64,
    Int8,
    Int64,
    Lookup,
    Mean,
    Op,
    Pool2D,
    Quantize,
    Reduce,
    Requant,
    ResizeBilinear,
)

_INT32_MAX = (1 << 31) - 1
_NEIGHBOURS = np.arange(-2, 3)


def straight_through(tf: Any, exact: Any, smooth: Any) -> Any:
    """The values of one tensor with the gradient of another one of the same shape."""
    chosen = tf.custom_gradient(lambda values, _smooth: (tf.identity(values), lambda upstream: (None, upstream)))
    return chosen(exact, smooth)


@dataclass(frozen=True, eq=False)
class Affine:
    """A requantisation as floor(sums * factor + above or below) before its clamp, all float64[n].

    Attributes:
        factor: output steps per unit of the sums.
        above: the offset for sums greater than `turn`, where the accumulator is positive.
        below: the offset for all other sums.
        turn: see `above`.
    """

    factor: Float64
    above: Float64
    below: Float64
    turn: Float64

    def __call__(self, tf: Any, sums: Any) -> Any:
        """Whole numbers in float64, from sums in float32 or float64."""
        # Without the rounding, graph optimizers fold the factor into the weights of a float64 convolution.
        wide = tf.round(sums) if sums.dtype == tf.float64 else tf.cast(sums, tf.float64)
        one_sided = np.array_equal(self.above, self.below)
        offset = self.above if one_sided else tf.where(wide > self.turn, self.above, self.below)
        return tf.floor(wide * self.factor + offset)


def requantised(tf: Any, sums: Any, requant: Requant, largest: int, bias: Int64 | int = 0, unit: int = 1) -> Any:
    """sums * unit + bias requantised to int8 steps, in float32, bit for bit as `fixed_point.requantise` does it.

    Args:
        sums: whole numbers, float32 or float64[..., n].
        requant: a requantisation with one entry, or n.
        largest: an upper bound of |sums * unit|.
        bias: int64[n] or one number, in accumulator steps.
        unit: the accumulator steps that one unit of `sums` stands for.
    """
    affine = affine_of(requant, largest, np.asarray(bias, dtype=np.int64), unit)
    whole = in_int64(tf, sums, requant, bias, unit) if affine is None else affine(tf, sums)
    return tf.clip_by_value(tf.cast(whole, tf.float32), float(requant.act_min), float(requant.act_max))


def in_int64(tf: Any, sums: Any, requant: Requant, bias: Int64 | int, unit: int) -> Any:
    """`fixed_point.requantise` before its clamp, operation by operation: always exact, but slow on a CPU."""

    def wrapped(values: Any) -> Any:
        return tf.cast(tf.cast(values, tf.int32), tf.int64)

    shift = requant.shift.astype(np.int64)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    shifted = wrapped(wrapped(tf.cast(sums, tf.int64) * unit + bias) * (np.int64(1) << left))
    high = tf.bitwise.right_shift(shifted * requant.multiplier.astype(np.int64) + (1 << 30), np.int64(31))
    mask = (np.int64(1) << right) - 1
    threshold = (mask >> 1) + tf.cast(high < 0, tf.int64)
    up = tf.cast(tf.bitwise.bitwise_and(high, mask) > threshold, tf.int64)
    return wrapped(tf.bitwise.right_shift(high, right) + up + requant.zero_point)


def affine_of(requant: Requant, largest: int, bias: Int64, unit: int) -> Affine | None:
    """The requantisation in a few float64 operations, or None if these would not give exactly the same results.

    The first of its two roundings, to 2^shift output steps, moves the ties that the second rounds away from zero.
    """
    real = np.ldexp(requant.multiplier.astype(np.float64), requant.shift - 31).astype(np.float64)
    most = (_INT32_MAX >> np.maximum(requant.shift, 0).astype(np.int64)) - np.abs(bias)
    if not real.all() or (most < largest).any():
        return None  # it is constant, or may wrap around
    nudge = np.ldexp(requant.shift < 0, requant.shift - 1).astype(np.float64)
    centre = bias * real + requant.zero_point + 0.5
    above = centre - nudge if requant.act_max <= requant.zero_point else centre + nudge
    below = centre + nudge if requant.act_min >= requant.zero_point else centre - nudge
    affine = Affine(real * unit, above, below, np.floor(-bias / unit))
    return affine if _agrees(affine, requant, most // unit, bias, unit) else None


def _agrees(affine: Affine, requant: Requant, edge: Int64, bias: Int64, unit: int) -> bool:
    """Whether both give the same output for all sums from -edge to edge.

    Neither falls as the sums rise, so it is enough that they agree around each of the up to 255 sums at which the
    output changes.
    """
    levels = np.arange(requant.act_min + 1, requant.act_max + 1)[:, None]
    change = (levels - (affine.above + affine.below) / 2) / affine.factor
    near = np.rint(np.clip(change, -edge, edge)).astype(np.int64)
    sums = np.clip(near + _NEIGHBOURS[:, None, None], -edge, edge)
    wanted = requantise(sums * unit + bias, requant)
    offset = np.where(sums > affine.turn, affine.above, affine.below)
    found = np.clip(np.floor(sums * affine.factor + offset), requant.act_min, requant.act_max)
    enclosed = ((wanted[0] < levels) | (sums[0] == -edge)) & ((wanted[-1] >= levels) | (sums[-1] == edge))
    return bool(np.array_equal(wanted, found) and enclosed.all())


def laid(tf: Any, op: Binary, activations: list[Any], constants: list[Any]) -> list[Any]:
    """The two operands along the op's joined axes, ready to broadcast; a step of 0 repeats an operand on its axis.

    Args:
        activations: float32[n, *shape], the values of `op.inputs`.
        constants: the operands that are constants, None in place of an activation.
    """
    left = iter(activations)
    operands = [next(left) if constant is None else constant for constant in constants]
    sides = [[size if step else 1 for size, step in zip(op.sizes, steps, strict=True)] for steps in op.steps]
    return [tf.reshape(x, (-1, *shape)) for x, shape in zip(operands, sides, strict=True)]


def _read(tf: Any, table: Int8, places: Any) -> Any:
    return tf.gather(tf.constant(table.ravel().astype(np.float32)), tf.cast(places, tf.int32))


def _elementwise(tf: Any, op: Quantize | Lookup, inputs: list[Any], _smooth: Any) -> Any:
    return _read(tf, elementwise(op), inputs[0] - INT8_MIN)


def _pairwise(tf: Any, op: Add | Binary, first: Any, second: Any) -> Any:
    return _read(tf, pairwise(op), first * 256 + (second - 257 * INT8_MIN))


def _add(tf: Any, op: Add, inputs: list[Any], _smooth: Any) -> Any:
    return _pairwise(tf, op, *inputs)


def _binary(tf: Any, op: Binary, inputs: list[Any], smooth: Any) -> Any:
    constants = [None if each is None else each.values.astype(np.float32) for each in op.constants]
    return tf.reshape(_pairwise(tf, op, *laid(tf, op, inputs, constants)), tf.shape(smooth))


def _mean(tf: Any, op: Mean, inputs: list[Any], smooth: Any) -> Any:
    largest = op.positions * (INT8_MAX - INT8_MIN)
    centred = tf.cast(inputs[0] - op.input_zero_point, summing_dtype(largest))
    sums = tf.reduce_sum(centred, axis=(1, 2))
    return tf.reshape(requantised(tf, sums, op.requant, largest), tf.shape(smooth))


def reduced(tf: Any, op: Reduce, x: Any) -> Any:
    """The elements of each output, [n, outputs, positions], of the op's input."""
    return tf.gather(tf.reshape(x, (-1, int(np.prod(x.shape[1:])))), op.places, axis=1)


def _reduce(tf: Any, op: Reduce, inputs: list[Any], smooth: Any) -> Any:
    elements = reduced(tf, op, inputs[0])
    if op.function in ("REDUCE_MAX", "REDUCE_MIN"):
        most = tf.reduce_max if op.function == "REDUCE_MAX" else tf.reduce_min
        return tf.reshape(most(elements, axis=2), tf.shape(smooth))
    largest = op.places.shape[1] * (INT8_MAX - INT8_MIN)
    sums = tf.reduce_sum(tf.cast(elements - op.input_zero_point, summing_dtype(largest)), axis=2)
    return tf.reshape(requantised(tf, sums, op.requant, largest), tf.shape(smooth))


def matrices(tf: Any, op: BatchMatMul, activations: list[Any], constants: list[Any]) -> list[Any]:
    """The two operands as matrices that end with the depth, [n, batches, rows or columns, depth].

    Args:
        activations: float32[n, *shape], the values of `op.inputs`.
        constants: flat operands that are constants, None in place of an activation.
    """
    left = iter(activations)
    found = []
    for which, constant in enumerate(constants):
        values = next(left) if constant is None else tf.constant(constant)[None]
        flat = tf.reshape(values, (-1, int(np.prod(values.shape[1:]))))
        found.append(tf.gather(flat, op.places(which), axis=1))
    return found


def _batch_matmul(tf: Any, op: BatchMatMul, inputs: list[Any], smooth: Any) -> Any:
    largest = op.depth * (INT8_MAX - INT8_MIN) ** 2
    constants = [None if each is None else each.values.astype(np.float32) for each in op.constants]
    rows, columns = (
        tf.cast(each - zero_point, summing_dtype(largest))
        for each, zero_point in zip(matrices(tf, op, inputs, constants), op.zero_points, strict=True)
    )
    sums = tf.round(tf.matmul(rows, columns, transpose_b=True))
    return tf.reshape(requantised(tf, sums[..., None], op.requant, largest), tf.shape(smooth))


def interpolated(tf: Any, op: ResizeBilinear, x: Any) -> Any:
    """float64[n, height, width, channels]: the pixels between those of x; exact before rounding if x is whole."""
    result = tf.cast(x, tf.float64)
    for equation, axis, coordinates in (("oi,nijc->nojc", 1, op.rows), ("oj,nijc->nioc", 2, op.columns)):
        weights = np.zeros((len(coordinates), x.shape[axis]))
        for out, (low, high, weight) in enumerate(coordinates):
            weights[out, low] += RESIZE_ONE - weight
            weights[out, high] += weight
        result = tf.einsum(equation, weights, result)
    return result / RESIZE_ONE**2


def _resize_bilinear(tf: Any, op: ResizeBilinear, inputs: list[Any], _smooth: Any) -> Any:
    pixels = interpolated(tf, op, inputs[0])
    return tf.cast(tf.sign(pixels) * tf.floor(tf.abs(pixels) + 0.5), tf.float32)


def _pool(tf: Any, op: Pool2D, inputs: list[Any], smooth: Any) -> Any:
    whole = smooth if op.mode == "max" else _average(tf, smooth, _counts(op, inputs[0].shape[1:3]))
    return tf.clip_by_value(whole, float(op.act_min), float(op.act_max))


def _average(tf: Any, means: Any, count: Any) -> Any:
    """The means as quotients of whole sums, with halves rounded away from zero; all numbers are below 2^24."""
    sums = tf.round(means * count)
    # The half keeps quotients away from whole numbers, since graph optimizers multiply by 1 / count instead.
    return tf.sign(sums) * tf.floor((tf.abs(sums) + count // 2 + 0.5) / count)


def _counts(op: Pool2D, sides: tuple[int, int]) -> Any:
    """float32[height, width, 1]: how many elements of an image each window sees."""
    seen = []
    for size, out, kernel, stride, before in zip(
        sides, op.out_shape[:2], op.window.kernel, op.window.stride, op.window.padding, strict=True
    ):
        first = np.arange(out) * stride - before
        seen.append(np.minimum(first + kernel, size) - np.maximum(first, 0))
    return np.multiply.outer(*seen)[..., None].astype(np.float32)


# The output of an op in whole int8 steps, float32. It is computed from the op's inputs, float32 in whole int8 steps,
# and from what the view computes in real numbers, which is in output steps before the clamp.
EXACT: dict[type[Op], Callable[[Any, Any, list[Any], Any], Any]] = {
    Add: _add,
    BatchMatMul: _batch_matmul,
    Binary: _binary,
    Lookup: _elementwise,
    Mean: _mean,
    Pool2D: _pool,
    Quantize: _elementwise,
    Reduce: _reduce,
    ResizeBilinear: _resize_bilinear,
}
