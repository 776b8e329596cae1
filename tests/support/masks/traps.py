"""Traps: a network that is robust by itself, and one weak direction that no search is led to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tests.support.masked_models import CLASSES, HIDDEN, INPUT_SCALE, VALUES, quantized
from tests.support.masks.task import ATTACKED, SEEN, Labels, Masked, Trunk, started
from tests.support.tflite_builder import ModelBuilder
from tritguard.predictor import Int8


@dataclass(frozen=True)
class Task:
    """Samples whose first half of values says much about the class, and whose second half is easily changed.

    Attributes:
        x, y: 2000 samples to train on, then 100 to attack.
        trunk: a network that looks at the first half alone.
        control: one that looks at the second half alone.
        weak: int[64], a direction of signs along which the samples of all classes lie equally far.
    """

    x: Int8
    y: Labels
    trunk: Trunk
    control: bytes
    weak: NDArray[np.int64]


@lru_cache(maxsize=2)
def halves(height: int) -> Task:
    rng = np.random.default_rng(5)
    first = np.arange(VALUES) < VALUES // 2
    prototypes = rng.choice([-1, 1], (CLASSES, VALUES)) * np.where(first, height, 4)
    y = rng.integers(0, CLASSES, SEEN + ATTACKED)
    noise = rng.normal(0, 1, (len(y), VALUES)) * np.where(first, 10.0, 1.0)
    x = np.clip(np.rint(prototypes[y] + noise), -128, 127).astype(np.int8)
    weak = rng.choice([-1, 1], VALUES)
    for _ in range(20000):
        other = weak.copy()
        other[rng.integers(VALUES, size=2)] *= -1
        if ((prototypes @ other) ** 2).sum() <= ((prototypes @ weak) ** 2).sum():
            weak = other
    trunk, open_trunk = (Trunk.of(x[:SEEN] * half * INPUT_SCALE, y[:SEEN]) for half in (first, ~first))
    trunk.first[:] *= first
    open_trunk.first[:] *= ~first
    builder = started()
    return Task(x, y, trunk, builder.build(open_trunk.all(builder, builder.input)), weak)


def common_mode() -> Masked:
    """One wide unit moves all ten logits alike, far more than they move by themselves, and an eleventh is constant.

    Next to the common move all classes look like copies of one another, whose margins would lead nowhere.
    """
    eps, copies, task = 12, 96, halves(26)
    trunk, seen = task.trunk, task.x[:SEEN].astype(np.float64)
    span = VALUES * eps + np.abs(seen @ task.weak).max()
    moved = seen[:200] + np.random.default_rng(5).choice([-16, 16], (200, VALUES))
    logits, after = (np.maximum(x * INPUT_SCALE @ trunk.first.T, 0) @ trunk.second.T for x in (seen[:200], moved))
    moves = after - logits
    apart = float(np.sqrt(((moves[:, :, None] - moves[:, None]) ** 2).mean(axis=0)).max())
    gain = 24 * apart / 128
    wide = task.weak * 255 * trunk.hidden_scale / (2 * span) / INPUT_SCALE
    weights, scales = quantized(np.concatenate([trunk.first, np.repeat(wide[None], copies, axis=0)]))
    bias = np.zeros(len(weights))
    bias[HIDDEN:] = 127.5 * trunk.hidden_scale / (INPUT_SCALE * np.array(scales[HIDDEN:]))
    builder = started()
    hidden = builder.dense(
        builder.input, weights, scales, bias.round().astype(np.int32), (trunk.hidden_scale, -128), "RELU"
    )
    head = np.full((CLASSES + 1, HIDDEN + copies), gain * 2 * span / 255 / trunk.hidden_scale / copies)
    head[:CLASSES, :HIDDEN], head[CLASSES] = trunk.second, 0
    head[CLASSES, 0] = 1e-3
    weights, scales = quantized(head)
    lowered = (-gain * span / (trunk.hidden_scale * np.array(scales))).round().astype(np.int32)
    out = (gain * span + 0.9 * np.abs(logits).max()) / 127
    content = builder.build(builder.dense(hidden, weights, scales, lowered, (out, 0)))
    opened = started()
    return Masked(
        content, opened.build(trunk.all(opened, opened.input)), task.x[SEEN:], task.y[SEEN:], (6, eps),
        control=task.control,
    )  # fmt: skip


Gate = Callable[[ModelBuilder, "Unit"], int]  # adds a unit to a network and returns it, on the hidden layer's grid


@dataclass(frozen=True)
class Unit:
    """A sum of the input's values that lies below zero on all data.

    Attributes:
        seen: the data.
        weak: the signs of the sum.
        scale: of the hidden layer.
    """

    seen: Int8
    weak: NDArray[np.int64]
    scale: float

    def sums(self, builder: ModelBuilder, out: tuple[float, int], activation: str = "NONE") -> int:
        """The sum, lowered so far that no sample reaches zero."""
        wakes = -round((float((self.seen.astype(np.int64) @ self.weak).max()) + 10) * 127)
        weights, scales = quantized(5.0 * self.weak[None].astype(np.float64))
        return builder.dense(builder.input, weights, scales, np.array([wakes], np.int32), out, activation)


def by_relu(builder: ModelBuilder, unit: Unit) -> int:
    return unit.sums(builder, (unit.scale, -128), "RELU")


def by_maximum(builder: ModelBuilder, unit: Unit) -> int:
    """It passes a MAXIMUM with zero."""
    grid = (2 * unit.scale, 0)
    sums = unit.sums(builder, grid)
    raised = builder.binary("MAXIMUM", sums, builder.constant(np.zeros((1, 1), np.int8), [grid[0]]), grid)
    return builder.quantize(raised, (unit.scale, -128))


def by_prelu(builder: ModelBuilder, unit: Unit) -> int:
    """It passes a PRELU whose slope below zero is zero."""
    grid = (2 * unit.scale, 0)
    sums = unit.sums(builder, grid)
    raised = builder.binary("PRELU", sums, builder.constant(np.zeros(1, np.int8), [1.0]), grid)
    return builder.quantize(raised, (unit.scale, -128))


def by_pool(builder: ModelBuilder, unit: Unit) -> int:
    """It stands beside a zero in the window of a max pool."""
    image = builder.reshape(unit.sums(builder, (2 * unit.scale, 0)), (1, 1, 1))
    beside = builder.pad(image, [(0, 0), (0, 1), (0, 0)])
    raised = builder.reshape(builder.pool(beside, "MAX", (1, 2), (1, 2), False, "NONE"), (1,))
    return builder.quantize(raised, (unit.scale, -128))


def by_another(builder: ModelBuilder, unit: Unit) -> int:
    """It sleeps until a unit that sleeps is wide awake."""
    first = by_relu(builder, unit)
    bias = np.array([-127 * 127], np.int32)
    return builder.dense(first, np.array([[127]], np.int8), [2 / 127], bias, (unit.scale, -128), "RELU")


def by_product(builder: ModelBuilder, unit: Unit) -> int:
    """A unit that sleeps is multiplied by itself: where it is zero, the square has no slope either."""
    awake = by_relu(builder, unit)
    return builder.binary("MUL", awake, awake, (unit.scale, -128))


def asleep(gate: Gate, loud: float = 6.0) -> Callable[[], Masked]:
    """A unit is at zero on all data and wherever gradients lead, and wakes only where nearly all values move together.

    Args:
        gate: adds it.
        loud: its weight in the head, as a multiple of the largest one there: the less, the more of what gradients say
            is about other units.
    """

    def make() -> Masked:
        eps, task = 8, halves(50)
        x, y, trunk = task.x[SEEN:], task.y[SEEN:], task.trunk
        builder = started()
        awake = gate(builder, Unit(task.x[:SEEN], task.weak, trunk.hidden_scale))
        hidden = builder.concatenation([trunk.hidden(builder, builder.input), awake], 1)
        large = loud * np.abs(trunk.second).max() * (np.arange(CLASSES) < 2)[:, None]
        weights, scales = quantized(np.concatenate([trunk.second, large], axis=1))
        content = builder.build(builder.dense(hidden, weights, scales, None, (trunk.logits_scale, 0)))

        def known(bound: int) -> Int8:
            return np.clip(x + bound * task.weak, -128, 127).astype(np.int8)

        return Masked(content, None, x, y, (4, eps), known=known, control=task.control)

    return make
