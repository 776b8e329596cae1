"""Layers through which straight-through gradients pass badly: maxima, products, saturated softmax, ripples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.support.masked_models import CLASSES, INPUT_SCALE, VALUES, quantized
from tests.support.masks.fronts import fold, folded
from tests.support.masks.known import Mixed, Tabled
from tests.support.masks.task import HIDDEN, Float, Masked, Trunk, case, drawn, plain_trunk, started
from tests.support.tflite_builder import ModelBuilder


def _peaks(builder: ModelBuilder) -> int:
    """A softmax of the plain network's outputs, so sharp that all its values are 0 or 1."""
    return builder.softmax(plain_trunk().all(builder, builder.input), 40.0)


def softmax_inside() -> Masked:
    """The network's answer goes through a saturated softmax before a last layer, whose sums are the logits."""
    builder = started()
    each = (127 * np.eye(CLASSES)).astype(np.int8)
    return case(builder.build(builder.dense(_peaks(builder), each, [0.02] * CLASSES, None, (0.02, -20))))


def one_hot_answers() -> Masked:
    """The same without a last layer with weights: nothing but the label can be seen."""
    builder = started()
    peaks = _peaks(builder)
    zero = builder.constant(np.zeros((1, CLASSES), np.int8), [1 / 256])
    return case(builder.build(builder.add(peaks, zero, (1 / 128, -64))), access="scores")


def maze_of_pools() -> Masked:
    """Hidden values stand beside a zero in windows of a max pool, above most of them."""
    builder, trunk = started(), plain_trunk()
    weights, scales = quantized(trunk.first)
    hidden = builder.dense(builder.input, weights, scales, None, (trunk.hidden_scale, 0))
    beside = builder.pad(builder.reshape(hidden, (HIDDEN, 1, 1)), [(0, 0), (0, 1), (0, 0)])
    pooled = builder.pool(beside, "MAX", (1, 2), (1, 2), False, "NONE")
    return case(builder.build(trunk.head(builder, builder.reshape(pooled, (HIDDEN,)))))


def maze_of_slopes() -> Masked:
    """A PRELU whose slope below zero is zero."""
    builder, trunk = started(), plain_trunk()
    weights, scales = quantized(trunk.first)
    hidden = builder.dense(builder.input, weights, scales, None, (trunk.hidden_scale, 0))
    slope = builder.constant(np.zeros((HIDDEN,), np.int8), [1 / 127])
    return case(builder.build(trunk.head(builder, builder.binary("PRELU", hidden, slope, (trunk.hidden_scale, 0)))))


def folds_by_prelu(builder: ModelBuilder, source: int, times: int) -> int:
    """As `fold`, by PRELU with the slope -1."""
    (scale, _), tensor, width = builder.quant(source), source, builder.shape(source)[0]
    for _ in range(times):
        tensor = builder.binary(
            "PRELU", tensor, builder.constant(np.full(width, -127, np.int8), [1 / 127]), (scale / 2, -128)
        )
        middle = builder.constant(np.full((1, width), -64, np.int8), [scale])
        tensor = builder.add(tensor, middle, (scale / 2, 0))
        scale /= 2
    return tensor


def ripples_inside(folds: Callable[[ModelBuilder, int, int], int]) -> Callable[[], Masked]:
    """Ripples of many other sums are added to the hidden layer: small ones, whose slopes hide all others."""

    def make() -> Masked:
        builder, trunk = started(), plain_trunk()
        weights, scales = quantized(trunk.first)
        hidden = builder.dense(builder.input, weights, scales, None, (trunk.hidden_scale, 0))
        others = np.random.default_rng(11).choice([-127, 127], (HIDDEN, VALUES)).astype(np.int8)
        sums = builder.dense(builder.input, others, [1 / 127] * HIDDEN, None, (4 * INPUT_SCALE, 0))
        folded_sums = folds(builder, sums, 4)
        size = 6 * trunk.hidden_scale / (128 * builder.quant(folded_sums)[0])
        small = builder.constant(np.full((1, HIDDEN), 127, np.int8), [size / 127])
        rippled = builder.binary("MUL", folded_sums, small, (trunk.hidden_scale / 8, 0))
        both = builder.add(hidden, rippled, (trunk.hidden_scale, -128), "RELU")
        return case(builder.build(trunk.head(builder, both)))

    return make


def cancelling() -> Masked:
    """Large branches in pairs that are equal whatever the input, but of which only one has a gradient.

    One rounds a sum to sixteen levels, the other counts steep clamps; the head subtracts them.
    """
    builder, trunk, units, levels = started(), plain_trunk(), 16, 15
    rng, scale = np.random.default_rng(12), trunk.hidden_scale
    others = rng.choice([-127, 127], (units, VALUES)).astype(np.int8)
    middle = np.full(units, 128 * 127 * 4, np.int32)  # the sums lie around the middle of the grid
    sums = builder.dense(
        builder.input, others, [scale / INPUT_SCALE / 4 / 127] * units, middle, (scale, -128)
    )  # fmt: skip
    rounded = builder.quantize(builder.quantize(sums, (16 * scale, -128)), (scale, -128))
    parts = [trunk.hidden(builder, builder.input), rounded]
    for level in range(1, levels + 1):
        bias = np.full(units, round(-(16 * level - 8.5) * 127), np.int32)
        above = builder.dense(
            sums, (127 * np.eye(units)).astype(np.int8), [32 / 127] * units, bias, (16 * scale / 255, -128), "RELU"
        )
        parts.append(builder.quantize(above, (scale, -128)))
    size = 2 * np.abs(trunk.second).max() * rng.choice([-1, 1], (CLASSES, units))
    weights, scales = quantized(np.concatenate([trunk.second, size, *[-size] * levels], axis=1))
    return case(
        builder.build(builder.dense(builder.concatenation(parts, 1), weights, scales, None, (trunk.logits_scale, 0)))
    )


def _signed(builder: ModelBuilder, source: int, weights: Float) -> int:
    """Signs of sums: a steep TANH of them."""
    kept, scales = quantized(weights)
    steep = builder.dense(source, kept, [200 * one for one in scales], None, (0.05, 0))
    return builder.unary("TANH", steep, (1 / 128, 0))


def signs_of_signs() -> Masked:
    """Two layers of signs in front of a network trained behind them, which changes by leaps alone."""
    x, y, attacked, labels = drawn()
    rng = np.random.default_rng(13)
    one, two = rng.normal(0, 1, (128, VALUES)), rng.normal(0, 1, (128, 128))
    seen = np.sign(np.sign(x @ one.T) @ two.T)
    trunk = Trunk.of(seen, y)

    def build(steep: bool) -> bytes:
        builder = started()
        if steep:
            tensor = _signed(builder, _signed(builder, builder.input, one), two)
        else:
            tensor = builder.input
            for weights, width in ((one, 24 * 8 * INPUT_SCALE), (two, 11.0)):
                kept, scales = quantized(weights / width)
                soft = builder.dense(tensor, kept, scales, None, (4 / 128, 0))
                tensor = builder.unary("TANH", soft, (1 / 128, 0))
        return builder.build(trunk.all(builder, tensor))

    return Masked(build(True), build(False), attacked, labels)


def folds_and_a_branch(live: bool) -> Callable[[], Masked]:
    """Folds in front, and a branch from the input itself past them: dead, or alive and weak."""

    def make() -> Masked:
        x, y, attacked, labels = drawn(110, 3.0)
        trunk = Trunk.of(folded(x, 3) * INPUT_SCALE / 8, y)
        rng = np.random.default_rng(14)
        others = rng.integers(-127, 128, (HIDDEN, VALUES)).astype(np.int8)
        builder = started()
        hidden = trunk.hidden(builder, fold(builder, builder.input, 3))
        size = trunk.hidden_scale / (127 * 8 * 110 * INPUT_SCALE) * 4 if live else 0.02
        branch = builder.dense(builder.input, others, [size] * HIDDEN, None, (trunk.hidden_scale if live else 800.0, 0))
        content = builder.build(trunk.head(builder, builder.add(hidden, branch, (trunk.hidden_scale, -128))))
        known = Tabled(trunk, lambda v: folded(v, 3) * INPUT_SCALE / 8)
        return Masked(
            content, None, attacked, labels, (3, 5), known=lambda bound: known.attack(attacked, labels, bound)
        )

    return make


def folds_inside() -> Masked:
    """Folds of sums of eight values each."""
    x, y, attacked, labels = drawn(110, 2.0)
    rng = np.random.default_rng(15)
    mixing = np.zeros((VALUES, VALUES))
    for row in mixing:
        row[rng.choice(VALUES, 8, replace=False)] = rng.choice([-1, 1], 8)
    wide = 4.0

    def table(sums: Float) -> Float:
        return folded(np.clip(np.rint(sums / wide), -128, 127).astype(np.int8), 3) * wide * INPUT_SCALE / 8

    trunk = Trunk.of(table(x @ mixing.T), y)
    builder = started()
    sums = builder.dense(
        builder.input, (127 * mixing).astype(np.int8), [1 / 127] * VALUES, None, (wide * INPUT_SCALE, 0)
    )
    content = builder.build(trunk.all(builder, fold(builder, sums, 3)))
    known = Mixed(trunk, mixing, table)
    return Masked(content, None, attacked, labels, (4, 8), known=lambda bound: known.attack(attacked, labels, bound))
