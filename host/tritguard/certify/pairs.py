"""Interval bounds of what is computed from two activations, in exact integers.

No relation between the two activations is assumed: each pair of values that their boxes allow is taken as possible,
which is sound also where both are the same tensor.

- A product is linear in each of its factors, so over a rectangle its extremes lie at corners. A sum of products is
  bounded by the sum of its terms' bounds.
- A maximum and a minimum rise with both operands, so the ends of the boxes give the ends of the result.
- PRELU is a rescaled operand where that is not negative, and a rescaled product where it is: each part is bounded over
  the half of the rectangle in which it counts.
- SQUARED_DIFFERENCE first rescales both operands, with roundings that keep their order (`steps`). Their difference
  rises with the first and falls with the second. The square of a number between two ends is at most the larger square
  of the ends; it is at least the smaller one, or 0 where the ends lie on both sides of 0.

The result is requantised, which keeps the order as well; where a 32-bit number on the way might wrap, an output may be
anything that its clamp allows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tritguard.certify.box import Box
from tritguard.certify.steps import Requantisation
from tritguard.certify.terms import fits_rescaled, rescaled
from tritguard.graph.model import BatchMatMul, Binary


def bounds_of_pair(op: Binary, first: Box, second: Box) -> Box:
    """What a function of two activations can be.

    Args:
        op: an op with any operator but ADD and SUB, which are sums.
        first: the distances of the first operand from its zero point, boxes int64[n, *shape].
        second: those of the second operand.
    """
    if op.operator in ("MAXIMUM", "MINIMUM"):
        pick = np.maximum if op.operator == "MAXIMUM" else np.minimum
        low, high = (
            np.clip(pick(a, b) + op.requant.zero_point, op.requant.act_min, op.requant.act_max)
            for a, b in ((first.low, second.low), (first.high, second.high))
        )
        return Box(low, high)
    if op.operator == "MUL":
        return Requantisation(op.requant).bounds(product(first, second))
    return {"PRELU": _prelu, "SQUARED_DIFFERENCE": _squared_difference}[op.operator](op, first, second)


def product(first: Box, second: Box) -> Box:
    """The bounds of a product, whose factors' boxes broadcast."""
    corners = [a * b for a in (first.low, first.high) for b in (second.low, second.high)]
    return Box(np.minimum.reduce(corners), np.maximum.reduce(corners))


def sums_of_products(op: BatchMatMul, rows: Box, columns: Box) -> Box:
    """The bounds of the sums of a product of two activations, int64[n, batches, rows, columns].

    Args:
        op: the product.
        rows: the first operand's distances from its zero point, int64[n, batches, rows, depth].
        columns: the second operand's, int64[n, batches, columns, depth].
    """
    shape = (*rows.low.shape[:3], columns.low.shape[2])
    low, high = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for along in range(op.depth):
        part = product(
            Box(rows.low[..., along][..., None], rows.high[..., along][..., None]),
            Box(columns.low[:, :, None, :, along], columns.high[:, :, None, :, along]),
        )
        low += part.low
        high += part.high
    return Box(low, high)


def _prelu(op: Binary, first: Box, second: Box) -> Box:
    assert op.operand_requants is not None
    above, below = (
        Requantisation(replace(op.requant, multiplier=each.multiplier, shift=each.shift))
        for each in op.operand_requants
    )
    positive = above.bounds(Box(np.maximum(first.low, 0), np.maximum(first.high, 0)))
    negative = below.bounds(product(Box(np.minimum(first.low, -1), np.minimum(first.high, -1)), second))
    never, always = first.low >= 0, first.high < 0
    return Box(
        np.where(never, positive.low, np.where(always, negative.low, np.minimum(positive.low, negative.low))),
        np.where(never, positive.high, np.where(always, negative.high, np.maximum(positive.high, negative.high))),
    )


def _squared_difference(op: Binary, first: Box, second: Box) -> Box:
    assert op.operand_requants is not None
    if not all(fits_rescaled(requant, op.left_shift) for requant in op.operand_requants):
        return Box(np.full(first.low.shape, op.requant.act_min), np.full(first.low.shape, op.requant.act_max))
    left, right = (
        Box(*(rescaled(end, requant, op.left_shift) for end in (operand.low, operand.high)))
        for operand, requant in zip((first, second), op.operand_requants, strict=True)
    )
    low, high = left.low - right.high, left.high - right.low
    squares = low * low, high * high
    least = np.where((low <= 0) & (high >= 0), 0, np.minimum(*squares))
    return Requantisation(op.requant).bounds(Box(least, np.maximum(*squares)))
