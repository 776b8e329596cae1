"""Outputs that are copies, scales that hide, and layers whose sides have no gradient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.support.masked_models import CLASSES, HIDDEN, INPUT_SCALE, VALUES, quantized
from tests.support.masks.task import Masked, Trunk, case, drawn, plain_trunk, started


def copied(times: int, lowered: float) -> Callable[[], Masked]:
    """Every output is given several times, the copies a little lower, so that the margin is the same everywhere."""

    def make() -> Masked:
        builder, trunk = started(), plain_trunk()
        hidden = trunk.hidden(builder, builder.input)
        weights, scales = quantized(np.concatenate([trunk.second] * times))
        bias = np.array([
            -lowered * (place // CLASSES) / (trunk.hidden_scale * scale) for place, scale in enumerate(scales)
        ])  # fmt: skip
        out = builder.dense(hidden, weights, scales, bias.round().astype(np.int32), (trunk.logits_scale, 0))
        return case(builder.build(out))

    return make


def saturated(hidden: float = 1.0, logits: float = 1.0, output: float = 1.0, lowered: float = 0.0) -> bytes:
    """The plain network with other scales; see `masked_models.Mask`."""
    builder, trunk = started(), plain_trunk()
    scale = trunk.hidden_scale * hidden
    weights, scales = quantized(trunk.first)
    tensor = builder.dense(builder.input, weights, scales, None, (scale, -128), "RELU")
    weights, scales = quantized(trunk.second)
    scales = [one * logits for one in scales]
    bias = np.array([-lowered * logits / (scale * one) for one in scales]).round().astype(np.int32)
    return builder.build(builder.dense(tensor, weights, scales, bias, (trunk.logits_scale * logits * output, 0)))


def maze() -> Masked:
    """Hidden values pass a maximum with a constant above most of them, whose side has no gradient."""
    builder, trunk = started(), plain_trunk()
    weights, scales = quantized(trunk.first)
    hidden = builder.dense(builder.input, weights, scales, None, (trunk.hidden_scale, 0))
    floor = builder.constant(np.zeros((1, HIDDEN), np.int8), [trunk.hidden_scale])
    raised = builder.binary("MAXIMUM", hidden, floor, (trunk.hidden_scale, 0))
    return case(builder.build(trunk.head(builder, raised)))


def checkers() -> Masked:
    """Values are replaced by their differences and sums in pairs, which cancel what windows of one sign change."""
    x, y, attacked, labels = drawn()
    pairs = np.kron(np.eye(VALUES // 2), np.array([[1, -1], [1, 1]]))
    trunk = Trunk.of(x * INPUT_SCALE @ pairs.T, y)
    builder = started()
    weights = (127 * pairs).astype(np.int8)
    front = builder.dense(builder.input, weights, [1 / 127] * VALUES, None, (2 * INPUT_SCALE, 0))
    merged = Trunk(trunk.first @ pairs, trunk.second, trunk.hidden_scale, trunk.logits_scale)
    opened = started()
    return Masked(
        builder.build(trunk.all(builder, front)), opened.build(merged.all(opened, opened.input)), attacked, labels
    )
