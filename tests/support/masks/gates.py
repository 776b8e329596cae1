"""Masks inside a network, and past its front: a saturated softmax, ripples, branches that cancel each other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.support.masked_models import CLASSES, HIDDEN, INPUT_SCALE, VALUES, quantized
from tests.support.masks.fronts import fold, folded
from tests.support.masks.known import Tabled
from tests.support.masks.task import Masked, Trunk, case, drawn, plain_trunk, started
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


def _folds_by_prelu(builder: ModelBuilder, source: int, times: int) -> int:
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


def ripples_inside() -> Masked:
    """Ripples of many other sums are added to the hidden layer: small ones, whose slopes hide all others."""
    builder, trunk = started(), plain_trunk()
    weights, scales = quantized(trunk.first)
    hidden = builder.dense(builder.input, weights, scales, None, (trunk.hidden_scale, 0))
    others = np.random.default_rng(11).choice([-127, 127], (HIDDEN, VALUES)).astype(np.int8)
    sums = builder.dense(builder.input, others, [1 / 127] * HIDDEN, None, (4 * INPUT_SCALE, 0))
    waves = _folds_by_prelu(builder, sums, 4)
    size = 6 * trunk.hidden_scale / (128 * builder.quant(waves)[0])
    small = builder.constant(np.full((1, HIDDEN), 127, np.int8), [size / 127])
    rippled = builder.binary("MUL", waves, small, (trunk.hidden_scale / 8, 0))
    both = builder.add(hidden, rippled, (trunk.hidden_scale, -128), "RELU")
    return case(builder.build(trunk.head(builder, both)))


def cancelling() -> Masked:
    """Large branches in pairs that are equal whatever the input, but of which only one has a gradient.

    One rounds a sum to sixteen levels, the other counts steep clamps; the head subtracts them.
    """
    builder, trunk, units, levels = started(), plain_trunk(), 4, 15
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
