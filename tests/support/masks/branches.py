"""Branches of which nothing ever arrives but their gradient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.support.masked_models import CLASSES, HIDDEN, VALUES, quantized
from tests.support.masks.task import Masked, case, plain_trunk, started
from tests.support.tflite_builder import ModelBuilder


def strong_branch(builder: ModelBuilder, outputs: int, out: float, scale: float = 0.02) -> int:
    """A dense layer with large random weights, whose output of this scale is always rounded to its zero point."""
    rng = np.random.default_rng(7)
    weights = rng.integers(-127, 128, (outputs, VALUES)).astype(np.int8)
    return builder.dense(builder.input, weights, [scale] * outputs, None, (out, 0))


def dead(out: float, scale: float = 0.02) -> Callable[[], Masked]:
    """The branch is ADDed to the hidden layer; nothing of it ever arrives there but its gradient."""

    def make() -> Masked:
        builder, trunk = started(), plain_trunk()
        hidden = trunk.hidden(builder, builder.input)
        sums = builder.add(hidden, strong_branch(builder, HIDDEN, out, scale), (trunk.hidden_scale, -128))
        return case(builder.build(trunk.head(builder, sums)))

    return make


def dead_at_the_logits() -> Masked:
    """The same at the end: the logits are no layer's sums any more, and black boxes see int8 scores."""
    builder, trunk = started(), plain_trunk()
    logits = trunk.all(builder, builder.input)
    sums = builder.add(logits, strong_branch(builder, CLASSES, 800.0), (trunk.logits_scale, 0))
    return case(builder.build(sums))


def dead_by_a_product() -> Masked:
    """A live branch, multiplied by a step so small that the product is always rounded to zero."""
    builder, trunk = started(), plain_trunk()
    rng = np.random.default_rng(7)
    weights = rng.integers(-127, 128, (HIDDEN, VALUES)).astype(np.int8)
    live = builder.dense(builder.input, weights, [0.02] * HIDDEN, None, (1.5, 0))
    tiny = builder.constant(np.full((1, HIDDEN), 1, np.int8), [2.0])
    product = builder.binary("MUL", live, tiny, (1200.0, 0))
    sums = builder.add(trunk.hidden(builder, builder.input), product, (trunk.hidden_scale, -128))
    return case(builder.build(trunk.head(builder, sums)))


def dead_input_of_the_head() -> Masked:
    """Values that never change are concatenated to the hidden layer, and the head gives them its largest weights."""
    builder, trunk = started(), plain_trunk()
    rng = np.random.default_rng(7)
    hidden = trunk.hidden(builder, builder.input)
    dead = builder.quantize(strong_branch(builder, HIDDEN, 800.0), (trunk.hidden_scale, -128))
    both = builder.concatenation([hidden, dead], 1)
    head = np.concatenate([trunk.second, 6 * np.abs(trunk.second).max() * rng.choice([-1, 1], trunk.second.shape)], 1)
    kept, scales = quantized(head)
    return case(builder.build(builder.dense(both, kept, scales, None, (trunk.logits_scale, 0))))
