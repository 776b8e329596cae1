"""The task and the network that most masks hide, and what a masked network is tried with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.support.masked_models import CLASSES, INPUT_SCALE, VALUES, fitted, quantized
from tests.support.tflite_builder import ModelBuilder
from tritguard.attack import Apgd, Ball, Target
from tritguard.attack.base import Access
from tritguard.emit import write_bundle
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.study import prepare
from tritguard.evaluate.samples import Samples
from tritguard.predictor import Int8

Float = NDArray[np.float64]
Labels = NDArray[np.int64]
SEEN, ATTACKED = 2000, 100


@dataclass(frozen=True)
class Masked:
    """A network, what it is attacked with, and what is known of it.

    Attributes:
        content: the int8 `.tflite`.
        open: the same network without its mask, or one that it is nearly the same as: what breaks it is tried on the
            masked one. None if there is none.
        x: int8[n, *input_shape].
        y: int64[n].
        eps: bounds, in int8 steps.
        access: what black-box attacks see.
        known: an attack that needs no network: gives int8[n, *input_shape] for an eps, of all samples of the task.
        control: an undefended network of the same task that every attack breaks, where the mask is tried with one: a
            result without a control is never `valid`.
    """

    content: bytes
    open: bytes | None
    x: Int8
    y: Labels
    eps: tuple[int, ...] = (4, 12)
    access: Access = "logits"
    known: Callable[[int], Int8] | None = field(default=None)
    control: bytes | None = None


def left_by_known(case: Masked, target: Target, folder: Path) -> float:
    """What the best attack known leaves of a masked network at the largest eps, on its twin.

    Args:
        case: the network.
        target: its twin with the samples.
        folder: for the bundle of the open network.

    Raises:
        ValueError: no attack is known, so nothing could show that a headline flatters.
    """
    if case.known is None and case.open is None:
        raise ValueError("a masked network needs an attack that is known to work on it")
    ball = Ball("Linf", case.eps[-1])
    found = [target.x] if case.known is None else [target.x, case.known(ball.eps)[: len(target.x)]]
    if case.open is not None:
        plan = Plan(samples=len(case.x))
        bundle = write_bundle(case.open, folder / "open", name="open")
        opened = prepare(bundle, Samples(case.x, case.y, np.arange(len(case.x))), plan)
        found += [attack.craft(opened, ball).x for attack in (Apgd("margin", 60, 2), Apgd("ce", 60, 1))]
    holds = np.logical_and.reduce([target.predictor.predict(x).labels == target.y for x in found])
    return float(holds.mean())


@lru_cache(maxsize=4)
def drawn(height: int = 20, noise: float = 24.0, seed: int = 5) -> tuple[Int8, Labels, Int8, Labels]:
    """Samples int8[2000, 64] to train on with their labels, then 100 samples to attack with theirs."""
    rng = np.random.default_rng(seed)
    prototypes = rng.choice([-height, height], (CLASSES, VALUES)) if height <= 64 else rng.integers(
        -height, height + 1, (CLASSES, VALUES)
    )  # fmt: skip
    y = rng.integers(0, CLASSES, SEEN + ATTACKED)
    x = np.clip(np.rint(prototypes[y] + rng.normal(0, noise, (len(y), VALUES))), -128, 127).astype(np.int8)
    return x[:SEEN], y[:SEEN], x[SEEN:], y[SEEN:]


@dataclass(frozen=True)
class Trunk:
    """A trained network of one hidden layer, and the scales of its layers."""

    first: Float
    second: Float
    hidden_scale: float
    logits_scale: float

    @classmethod
    def of(cls, features: NDArray[np.floating], y: Labels) -> Trunk:
        size = float(np.sqrt((features**2).mean()))
        first, second = fitted(features / size, y)
        first /= size
        hidden = np.maximum(features @ first.T, 0)
        return cls(first, second, float(hidden.max()) / 255, float(np.abs(hidden @ second.T).max()) / 127)

    def hidden(self, builder: ModelBuilder, source: int) -> int:
        weights, scales = quantized(self.first)
        return builder.dense(source, weights, scales, None, (self.hidden_scale, -128), "RELU")

    def head(self, builder: ModelBuilder, source: int) -> int:
        weights, scales = quantized(self.second)
        return builder.dense(source, weights, scales, None, (self.logits_scale, 0))

    def all(self, builder: ModelBuilder, source: int) -> int:
        return self.head(builder, self.hidden(builder, source))


@lru_cache(maxsize=1)
def plain_trunk() -> Trunk:
    x, y, _, _ = drawn()
    return Trunk.of(x * INPUT_SCALE, y)


def started() -> ModelBuilder:
    return ModelBuilder((VALUES,), INPUT_SCALE, 0)


@lru_cache(maxsize=1)
def plain() -> bytes:
    """The network that most masks hide."""
    builder = started()
    return builder.build(plain_trunk().all(builder, builder.input))


def case(content: bytes, **more: object) -> Masked:
    _, _, x, y = drawn()
    return Masked(content, plain(), x, y, **more)  # type: ignore[arg-type]
