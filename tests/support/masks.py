"""A zoo of networks that hide how weak they are, each with the best attack known on it.

Most are small classifiers of a drawn task of 64 values, as in `honest`. A mask keeps what the network answers, or makes
it so that little can be seen of how to change it. What is known of the mask tells how to attack it: mostly by attacking
the same network without its mask (`Masked.open`), and trying what breaks that one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.support.masked_models import CLASSES, INPUT_SCALE, VALUES, quantized
from tests.support.resnet8_masked import with_dead_branch
from tests.support.shared import shared_file
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
HIDDEN = 32

Front = Callable[[ModelBuilder, int], int]  # adds ops behind a tensor and returns the new one


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


def fitted(features: NDArray[np.floating], y: Labels, steps: int = 600, rate: float = 0.5) -> tuple[Float, Float]:
    """Weights [32, n] and [10, 32] of a network of one hidden layer, by gradient descent on the cross-entropy."""
    rng = np.random.default_rng(0)
    size = features.shape[1]
    rate *= min(1.0, VALUES / size)
    first, second = rng.normal(0, 1.2 / np.sqrt(size), (HIDDEN, size)), rng.normal(0, 0.2, (CLASSES, HIDDEN))
    for step in range(steps):
        rows = rng.integers(0, len(y), 128)
        hidden = np.maximum(features[rows] @ first.T, 0)
        logits = hidden @ second.T
        share = np.exp(logits - logits.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        share[np.arange(128), y[rows]] -= 1
        now = rate * (1 - step / steps) / 128
        back = (share @ second) * (hidden > 0)
        second -= now * share.T @ hidden
        first -= now * back.T @ features[rows]
    return first, second


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


def _case(content: bytes, **more: object) -> Masked:
    _, _, x, y = drawn()
    return Masked(content, plain(), x, y, **more)  # type: ignore[arg-type]


def _strong_branch(builder: ModelBuilder, outputs: int, out: float, scale: float = 0.02) -> int:
    """A dense layer with large random weights, whose output of this scale is always rounded to its zero point."""
    rng = np.random.default_rng(7)
    weights = rng.integers(-127, 128, (outputs, VALUES)).astype(np.int8)
    return builder.dense(builder.input, weights, [scale] * outputs, None, (out, 0))


def _dead(out: float, scale: float = 0.02) -> Callable[[], Masked]:
    """The branch is ADDed to the hidden layer; nothing of it ever arrives there but its gradient."""

    def make() -> Masked:
        builder, trunk = started(), plain_trunk()
        hidden = trunk.hidden(builder, builder.input)
        sums = builder.add(hidden, _strong_branch(builder, HIDDEN, out, scale), (trunk.hidden_scale, -128))
        return _case(builder.build(trunk.head(builder, sums)))

    return make


def _dead_at_the_logits() -> Masked:
    """The same at the end: the logits are no layer's sums any more, and black boxes see int8 scores."""
    builder, trunk = started(), plain_trunk()
    logits = trunk.all(builder, builder.input)
    sums = builder.add(logits, _strong_branch(builder, CLASSES, 800.0), (trunk.logits_scale, 0))
    return _case(builder.build(sums))


def _dead_by_a_product() -> Masked:
    """A live branch, multiplied by a step so small that the product is always rounded to zero."""
    builder, trunk = started(), plain_trunk()
    rng = np.random.default_rng(7)
    weights = rng.integers(-127, 128, (HIDDEN, VALUES)).astype(np.int8)
    live = builder.dense(builder.input, weights, [0.02] * HIDDEN, None, (1.5, 0))
    tiny = builder.constant(np.full((1, HIDDEN), 1, np.int8), [2.0])
    product = builder.binary("MUL", live, tiny, (1200.0, 0))
    sums = builder.add(trunk.hidden(builder, builder.input), product, (trunk.hidden_scale, -128))
    return _case(builder.build(trunk.head(builder, sums)))


def _dead_input_of_the_head() -> Masked:
    """Values that never change are concatenated to the hidden layer, and the head gives them its largest weights."""
    builder, trunk = started(), plain_trunk()
    rng = np.random.default_rng(7)
    hidden = trunk.hidden(builder, builder.input)
    dead = builder.quantize(_strong_branch(builder, HIDDEN, 800.0), (trunk.hidden_scale, -128))
    both = builder.concatenation([hidden, dead], 1)
    head = np.concatenate([trunk.second, 6 * np.abs(trunk.second).max() * rng.choice([-1, 1], trunk.second.shape)], 1)
    kept, scales = quantized(head)
    return _case(builder.build(builder.dense(both, kept, scales, None, (trunk.logits_scale, 0))))


def _copied(times: int, lowered: float) -> Callable[[], Masked]:
    """Every output is given several times, the copies a little lower, so that the margin is the same everywhere."""

    def make() -> Masked:
        builder, trunk = started(), plain_trunk()
        hidden = trunk.hidden(builder, builder.input)
        weights, scales = quantized(np.concatenate([trunk.second] * times))
        bias = np.array([
            -lowered * (place // CLASSES) / (trunk.hidden_scale * scale) for place, scale in enumerate(scales)
        ])  # fmt: skip
        out = builder.dense(hidden, weights, scales, bias.round().astype(np.int32), (trunk.logits_scale, 0))
        return _case(builder.build(out))

    return make


# --- fronts: the network is trained behind them -----------------------------------------------------------------------


def _fold(builder: ModelBuilder, source: int, times: int) -> int:
    """Each fold maps a value v of -128..127 to 2 |v| - 128: a triangle wave of 2^times pieces."""
    scale, tensor = builder.quant(source)[0], source
    for _ in range(times):
        tensor = builder.unary("ABS", tensor, (scale / 2, -128))
        middle = builder.constant(np.full((1, VALUES), -64, np.int8), [scale])
        tensor = builder.add(tensor, middle, (scale / 2, 0))
        scale /= 2
    return tensor


def _folded(x: Int8, times: int) -> Float:
    values = x.astype(np.float64)
    for _ in range(times):
        values = np.clip(2 * np.abs(values) - 128, -128, 127)
    return values


def _folds(times: int, eps: tuple[int, ...], noise: float) -> Callable[[], Masked]:
    """Pixel values are folded with many periods before the network sees them."""

    def make() -> Masked:
        x, y, attacked, labels = drawn(110, noise)
        seen = _folded(x, times) * INPUT_SCALE / 2
        trunk = Trunk.of(seen, y)
        builder = started()
        tensor = _fold(builder, builder.input, times)
        scale = builder.quant(tensor)[0]
        same = Trunk(trunk.first * (INPUT_SCALE / 2 / scale), trunk.second, trunk.hidden_scale, trunk.logits_scale)
        content = builder.build(same.all(builder, tensor))

        def known(bound: int) -> Int8:
            return _through_a_table(lambda v: _folded(v, times) * INPUT_SCALE / 2, trunk, attacked, labels, bound)

        return Masked(content, None, attacked, labels, eps, known=known)

    return make


def _through_a_table(table: Callable[[Int8], Float], trunk: Trunk, x: Int8, y: Labels, eps: int) -> Int8:
    """Attack a network behind a function of single values by trying every value of the ball for each element.

    The gradient of the margin at the function's output says which value serves best; a few elements move at a time.
    """
    rng = np.random.default_rng(0)
    rows = np.arange(len(x))
    shifts = np.arange(-eps, eps + 1)
    choices = np.clip(x[:, :, None].astype(np.int64) + shifts, -128, 127).astype(np.int8)
    values = table(choices)
    best, least = x.copy(), np.full(len(x), np.inf)
    for _start in range(4):
        now = np.take_along_axis(choices, rng.integers(0, len(shifts), (*x.shape, 1)), 2)[..., 0]
        for step in range(60):
            features = table(now)
            hidden = np.maximum(features @ trunk.first.T, 0)
            logits = hidden @ trunk.second.T
            others = logits.copy()
            others[rows, y] = -np.inf
            rival = others.argmax(axis=1)
            margin = logits[rows, y] - logits[rows, rival]
            better = margin < least
            best[better], least[better] = now[better], margin[better]
            slope = ((trunk.second[rival] - trunk.second[y]) * (hidden > 0)) @ trunk.first
            wanted = np.take_along_axis(choices, (slope[:, :, None] * values).argmax(axis=2)[..., None], 2)[..., 0]
            now = np.where(rng.random(x.shape) < 0.6 * 0.96**step, wanted, now)
    return best


def _behind(
    front: Callable[[ModelBuilder, int], int],
    table: Callable[[Int8], Float],
    height: int = 20,
    noise: float = 24.0,
    eps: tuple[int, ...] = (4, 12),
) -> Callable[[], Masked]:
    """A network behind a function of single values, which is attacked through the table of that function.

    Args:
        front: adds the function's ops.
        table: the function, of int8 values, as the real numbers that come out.
        height, noise: of the task.
        eps: bounds.
    """

    def make() -> Masked:
        x, y, attacked, labels = drawn(height, noise)
        trunk = Trunk.of(table(x).reshape(len(x), -1), y)
        builder = started()
        content = builder.build(trunk.all(builder, front(builder, builder.input)))

        def known(bound: int) -> Int8:
            return _through_a_table(table, trunk, attacked, labels, bound)

        return Masked(content, None, attacked, labels, eps, known=known)

    return make


_STEEP = 12.0


def _tanh_front(builder: ModelBuilder, source: int) -> int:
    steep = builder.quantize(source, (INPUT_SCALE, 0))
    factor = builder.constant(np.full((1, VALUES), 127, np.int8), [_STEEP / 127])
    return builder.unary("TANH", builder.binary("MUL", steep, factor, (INPUT_SCALE * _STEEP / 4, 0)), (1 / 128, 0))


def _tanh_table(x: Int8) -> Float:
    inner = np.clip(np.rint(4 * x.astype(np.float64)), -128, 127) / 4
    return np.tanh(_STEEP * inner * INPUT_SCALE)


def _plateau_front(builder: ModelBuilder, source: int) -> int:
    """Values between two steps that lie close together pass; all others are at one of the clamp's ends."""
    weights = (127 * np.eye(VALUES)).astype(np.int8)
    gain = 16.0
    bias = np.full(VALUES, round(3 / (INPUT_SCALE * gain / 127)), np.int32)
    return builder.dense(source, weights, [gain / 127] * VALUES, bias, (6 / 255, -128), "RELU6")


def _plateau_table(x: Int8) -> Float:
    return np.clip(16.0 * x.astype(np.float64) * INPUT_SCALE + 3, 0, 6)


def _stairs_front(builder: ModelBuilder, source: int) -> int:
    """A few wide stairs: what lies between is lost, and so is what a small step would change."""
    return builder.quantize(source, (INPUT_SCALE * 48, 0))


def _stairs_table(x: Int8) -> Float:
    return np.trunc(x.astype(np.float64) / 48 + np.sign(x) * 0.5) * 48 * INPUT_SCALE


_CODES = np.array([-60, -36, -12, 12, 36, 60])


def _code_front(builder: ModelBuilder, source: int) -> int:
    """A thermometer: for each value a few clamps that are at zero below a threshold and at six above it."""
    weights = np.zeros((VALUES * len(_CODES), VALUES), np.int8)
    weights[np.arange(len(weights)), np.repeat(np.arange(VALUES), len(_CODES))] = 127
    gain = 6 / INPUT_SCALE / 2  # two steps from end to end
    factor = INPUT_SCALE * gain / 127
    bias = np.array([round((-gain * code * INPUT_SCALE + 3) / factor) for code in np.tile(_CODES, VALUES)], np.int32)
    return builder.dense(source, weights, [gain / 127] * len(weights), bias, (6 / 255, -128), "RELU6")


def _code_table(x: Int8) -> Float:
    return np.clip(3.0 * (x.astype(np.float64)[..., None] - _CODES) + 3, 0, 6)


def _thermometer() -> Masked:
    x, y, attacked, labels = drawn()
    features = _code_table(x).reshape(len(x), -1) / 6
    inner = Trunk.of(features, y)
    trunk = Trunk(inner.first / 6, inner.second, inner.hidden_scale, inner.logits_scale)
    builder = started()
    content = builder.build(trunk.all(builder, _code_front(builder, builder.input)))

    def known(eps: int) -> Int8:
        summed = trunk.first.reshape(HIDDEN, VALUES, len(_CODES))
        return _through_codes(summed, trunk, attacked, labels, eps)

    return Masked(content, None, attacked, labels, known=known)


def _through_codes(first: Float, trunk: Trunk, x: Int8, y: Labels, eps: int) -> Int8:
    rng, rows = np.random.default_rng(0), np.arange(len(x))
    choices = np.clip(x[:, :, None].astype(np.int64) + np.arange(-eps, eps + 1), -128, 127).astype(np.int8)
    values = _code_table(choices)
    best, least = x.copy(), np.full(len(x), np.inf)
    for _start in range(3):
        now = np.take_along_axis(choices, rng.integers(0, choices.shape[2], (*x.shape, 1)), 2)[..., 0]
        for step in range(50):
            hidden = np.maximum(np.einsum("nvc,hvc->nh", _code_table(now), first), 0)
            logits = hidden @ trunk.second.T
            others = logits.copy()
            others[rows, y] = -np.inf
            rival = others.argmax(axis=1)
            margin = logits[rows, y] - logits[rows, rival]
            better = margin < least
            best[better], least[better] = now[better], margin[better]
            slope = np.einsum("nh,hvc->nvc", (trunk.second[rival] - trunk.second[y]) * (hidden > 0), first)
            gain = np.einsum("nvc,nvkc->nvk", slope, values)
            wanted = np.take_along_axis(choices, gain.argmax(axis=2)[..., None], 2)[..., 0]
            now = np.where(rng.random(x.shape) < 0.6 * 0.96**step, wanted, now)
    return best


def _ripple(builder: ModelBuilder, source: int) -> int:
    """A small triangle wave of steep slopes is added to every value: gradients see little else."""
    wave = _fold(builder, source, 5)
    scale = builder.quant(wave)[0]
    small = builder.constant(np.full((1, VALUES), 127, np.int8), [6 * INPUT_SCALE / (128 * scale) / 127])
    return builder.add(source, builder.binary("MUL", wave, small, (INPUT_SCALE / 16, 0)), (INPUT_SCALE, 0))


def _ripple_table(x: Int8) -> Float:
    return np.asarray((x + 6 * _folded(x, 5) / 128) * INPUT_SCALE)


def _checkers() -> Masked:
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


def _maze() -> Masked:
    """Hidden values pass a maximum with a constant above most of them, whose side has no gradient."""
    builder, trunk = started(), plain_trunk()
    weights, scales = quantized(trunk.first)
    hidden = builder.dense(builder.input, weights, scales, None, (trunk.hidden_scale, 0))
    floor = builder.constant(np.zeros((1, HIDDEN), np.int8), [trunk.hidden_scale])
    raised = builder.binary("MAXIMUM", hidden, floor, (trunk.hidden_scale, 0))
    return _case(builder.build(trunk.head(builder, raised)))


def _saturated(hidden: float = 1.0, logits: float = 1.0, output: float = 1.0, lowered: float = 0.0) -> bytes:
    """The plain network with other scales; see `masked_models.Mask`."""
    builder, trunk = started(), plain_trunk()
    scale = trunk.hidden_scale * hidden
    weights, scales = quantized(trunk.first)
    tensor = builder.dense(builder.input, weights, scales, None, (scale, -128), "RELU")
    weights, scales = quantized(trunk.second)
    scales = [one * logits for one in scales]
    bias = np.array([-lowered * logits / (scale * one) for one in scales]).round().astype(np.int32)
    return builder.build(builder.dense(tensor, weights, scales, bias, (trunk.logits_scale * logits * output, 0)))


def _hashed() -> Masked:
    """Sums of values that wrap around: folds behind a mixing layer, so that no value can be looked at alone."""
    x, y, attacked, labels = drawn(110, 2.0)
    rng = np.random.default_rng(2)
    mixing = np.eye(VALUES)[rng.permutation(VALUES)] + 0.5 * np.eye(VALUES)[rng.permutation(VALUES)]
    mixed = np.clip(np.rint(x @ mixing.T / 1.5), -128, 127)
    trunk = Trunk.of(_folded(mixed.astype(np.int8), 3) * INPUT_SCALE / 2, y)
    builder = started()
    weights = np.rint(127 * mixing).astype(np.int8)
    front = builder.dense(builder.input, weights, [1 / 127] * VALUES, None, (1.5 * INPUT_SCALE, 0))
    tensor = _fold(builder, front, 3)
    same = Trunk(
        trunk.first * (INPUT_SCALE / 2 / builder.quant(tensor)[0]), trunk.second, trunk.hidden_scale, trunk.logits_scale
    )
    content = builder.build(same.all(builder, tensor))
    return Masked(
        content,
        None,
        attacked,
        labels,
        (4, 8),
        known=lambda bound: _through_mixed(mixing, trunk, attacked, labels, bound),
    )


def _through_mixed(mixing: Float, trunk: Trunk, x: Int8, y: Labels, eps: int) -> Int8:
    """Try every value of the ball for each element, by what its two sums become; a few elements move at a time."""
    rng, rows = np.random.default_rng(0), np.arange(len(x))
    shifts = np.arange(-eps, eps + 1)
    choices = np.clip(x[:, :, None].astype(np.int64) + shifts, -128, 127)

    def table(sums: NDArray[np.floating]) -> Float:
        return _folded(np.clip(np.rint(sums / 1.5), -128, 127).astype(np.int8), 3) * INPUT_SCALE / 2

    best, least = x.copy(), np.full(len(x), np.inf)
    for _start in range(4):
        now = np.take_along_axis(choices, rng.integers(0, len(shifts), (*x.shape, 1)), 2)[..., 0]
        for step in range(80):
            sums = now @ mixing.T
            seen = table(sums)
            hidden = np.maximum(seen @ trunk.first.T, 0)
            logits = hidden @ trunk.second.T
            others = logits.copy()
            others[rows, y] = -np.inf
            rival = others.argmax(axis=1)
            margin = logits[rows, y] - logits[rows, rival]
            better = margin < least
            best[better], least[better] = now[better].astype(np.int8), margin[better]
            slope = ((trunk.second[rival] - trunk.second[y]) * (hidden > 0)) @ trunk.first
            gain = np.zeros(choices.shape)
            for out, source in zip(*np.nonzero(mixing), strict=True):
                moved = (choices[:, source] - now[:, source, None]) * mixing[out, source]
                gain[:, source] += slope[:, out, None] * table(sums[:, out, None] + moved)
            wanted = np.take_along_axis(choices, gain.argmax(axis=2)[..., None], 2)[..., 0]
            now = np.where(rng.random(x.shape) < 0.5 * 0.95**step, wanted, now)
    return best


# --- traps: a network that is robust by itself, and one weak direction that no search is led to


@dataclass(frozen=True)
class _Task:
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
def _halves(height: int) -> _Task:
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
    return _Task(x, y, trunk, builder.build(open_trunk.all(builder, builder.input)), weak)


def _common_mode() -> Masked:
    """One wide unit moves all ten logits alike, far more than they move by themselves, and an eleventh is constant.

    Next to the common move all classes look like copies of one another, whose margins would lead nowhere.
    """
    eps, copies, task = 12, 96, _halves(26)
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


def _asleep(maximum: bool) -> Callable[[], Masked]:
    """A unit is at zero on all data and wherever gradients lead, and wakes only where nearly all values move together.

    Args:
        maximum: it passes a MAXIMUM with zero instead of a ReLU.
    """

    def make() -> Masked:
        eps, task = 8, _halves(50)
        x, y, trunk = task.x[SEEN:], task.y[SEEN:], task.trunk
        wakes = -round((float((task.x[:SEEN].astype(np.int64) @ task.weak).max()) + 10) * 127)
        unit = 5.0 * task.weak[None]
        builder = started()
        if maximum:
            grid = (2 * trunk.hidden_scale, 0)
            weights, scales = quantized(unit)
            sums = builder.dense(builder.input, weights, scales, np.array([wakes], np.int32), grid)
            raised = builder.binary("MAXIMUM", sums, builder.constant(np.zeros((1, 1), np.int8), [grid[0]]), grid)
            awake = builder.quantize(raised, (trunk.hidden_scale, -128))
            hidden = builder.concatenation([trunk.hidden(builder, builder.input), awake], 1)
        else:
            weights, scales = quantized(np.concatenate([trunk.first, unit]))
            bias = np.array([0] * HIDDEN + [wakes], np.int32)
            hidden = builder.dense(builder.input, weights, scales, bias, (trunk.hidden_scale, -128), "RELU")
        large = 6 * np.abs(trunk.second).max() * (np.arange(CLASSES) < 2)[:, None]
        weights, scales = quantized(np.concatenate([trunk.second, large], axis=1))
        content = builder.build(builder.dense(hidden, weights, scales, None, (trunk.logits_scale, 0)))

        def known(bound: int) -> Int8:
            return np.clip(x + bound * task.weak, -128, 127).astype(np.int8)

        return Masked(content, None, x, y, (4, eps), known=known, control=task.control)

    return make


def _resnet8_with_a_dead_branch() -> Masked:
    content = shared_file("models/resnet8_int8.tflite").read_bytes()
    pictures = np.load(shared_file("data/cifar10_lossless_subset.npz"))
    x = (pictures["test_images"][:100].astype(np.int16) - 128).astype(np.int8)
    return Masked(with_dead_branch(content), content, x, pictures["test_labels"][:100].astype(np.int64), (3,))


ZOO: dict[str, Callable[[], Masked]] = {
    "dead branch added": _dead(800.0),
    "dead branch as strong as the network": _dead(800.0, 0.003),
    "dead branch at the logits": _dead_at_the_logits,
    "dead by a tiny product": _dead_by_a_product,
    "dead input of the head": _dead_input_of_the_head,
    "outputs given twice": _copied(2, 0.0),
    "outputs given three times, lower": _copied(3, 0.3),
    "folds, 8 pieces": _folds(3, (6, 9), 3.0),
    "folds, 32 pieces": _folds(5, (2, 3), 0.5),
    "folds behind a mixing layer": _hashed,
    "ripple added": _behind(_ripple, _ripple_table),
    "steep TANH front": _behind(_tanh_front, _tanh_table),
    "ReLU6 plateaus in front": _behind(_plateau_front, _plateau_table),
    "stairs in front": _behind(_stairs_front, _stairs_table, 40, 24.0, eps=(12, 24)),
    "thermometer code": _thermometer,
    "checkers": _checkers,
    "maximum maze": _maze,
    "logits that move together": _common_mode,
    "a unit that sleeps": _asleep(maximum=False),
    "a maximum that sleeps": _asleep(maximum=True),
    "saturated logits": lambda: _case(_saturated(logits=1e4)),
    "staircase activations": lambda: _case(_saturated(hidden=60.0)),
    "clamped activations": lambda: _case(_saturated(hidden=0.02)),
    "tiny output scale": lambda: _case(_saturated(output=1e-3, lowered=3.0), access="scores"),
    "coarse output scale": lambda: _case(_saturated(output=20.0), access="scores"),
    "MLPerf Tiny's ResNet8 with a dead branch": _resnet8_with_a_dead_branch,
}
