"""Functions in front of a network, which is trained behind them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tests.support.masked_models import INPUT_SCALE, VALUES
from tests.support.masks.known import Mixed, Table, Tabled
from tests.support.masks.task import Float, Masked, Trunk, drawn, started
from tests.support.tflite_builder import ModelBuilder
from tritguard.predictor import Int8


def fold(builder: ModelBuilder, source: int, times: int) -> int:
    """Each fold maps a value v of -128..127 to 2 |v| - 128: a triangle wave of 2^times pieces."""
    (scale, _), tensor, width = builder.quant(source), source, builder.shape(source)[0]
    for _ in range(times):
        tensor = builder.unary("ABS", tensor, (scale / 2, -128))
        middle = builder.constant(np.full((1, width), -64, np.int8), [scale])
        tensor = builder.add(tensor, middle, (scale / 2, 0))
        scale /= 2
    return tensor


def folded(x: Int8, times: int) -> Float:
    values = x.astype(np.float64)
    for _ in range(times):
        values = np.clip(2 * np.abs(values) - 128, -128, 127)
    return values


def behind(
    front: Callable[[ModelBuilder, int], int],
    table: Table,
    height: int = 20,
    noise: float = 24.0,
    eps: tuple[int, ...] = (4, 12),
) -> Callable[[], Masked]:
    """A network behind a function of single values.

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
        known = Tabled(trunk, table)
        return Masked(content, None, attacked, labels, eps, known=lambda bound: known.attack(attacked, labels, bound))

    return make


def folds(times: int, eps: tuple[int, ...], noise: float) -> Callable[[], Masked]:
    """Pixel values are folded with many periods before the network sees them."""
    return behind(
        lambda builder, source: fold(builder, source, times),
        lambda x: folded(x, times) * INPUT_SCALE / 2**times,
        height=110,
        noise=noise,
        eps=eps,
    )


_STEEP = 12.0


def tanh_front(builder: ModelBuilder, source: int) -> int:
    steep = builder.quantize(source, (INPUT_SCALE, 0))
    factor = builder.constant(np.full((1, VALUES), 127, np.int8), [_STEEP / 127])
    return builder.unary("TANH", builder.binary("MUL", steep, factor, (INPUT_SCALE * _STEEP / 4, 0)), (1 / 128, 0))


def tanh_table(x: Int8) -> Float:
    inner = np.clip(np.rint(4 * x.astype(np.float64)), -128, 127) / 4
    return np.tanh(_STEEP * inner * INPUT_SCALE)


def plateau_front(builder: ModelBuilder, source: int) -> int:
    """Values between two steps that lie close together pass; all others are at one of the clamp's ends."""
    weights = (127 * np.eye(VALUES)).astype(np.int8)
    gain = 16.0
    bias = np.full(VALUES, round(3 / (INPUT_SCALE * gain / 127)), np.int32)
    return builder.dense(source, weights, [gain / 127] * VALUES, bias, (6 / 255, -128), "RELU6")


def plateau_table(x: Int8) -> Float:
    return np.clip(16.0 * x.astype(np.float64) * INPUT_SCALE + 3, 0, 6)


def stairs_front(builder: ModelBuilder, source: int) -> int:
    """A few wide stairs: what lies between is lost, and so is what a small step would change."""
    return builder.quantize(source, (INPUT_SCALE * 48, 0))


def stairs_table(x: Int8) -> Float:
    return np.trunc(x.astype(np.float64) / 48 + np.sign(x) * 0.5) * 48 * INPUT_SCALE


_CODES = np.array([-60, -36, -12, 12, 36, 60])


def code_front(builder: ModelBuilder, source: int) -> int:
    """A thermometer: for each value a few clamps that are at zero below a threshold and at six above it."""
    weights = np.zeros((VALUES * len(_CODES), VALUES), np.int8)
    weights[np.arange(len(weights)), np.repeat(np.arange(VALUES), len(_CODES))] = 127
    gain = 6 / INPUT_SCALE / 2  # two steps from end to end
    factor = INPUT_SCALE * gain / 127
    bias = np.array([round((-gain * code * INPUT_SCALE + 3) / factor) for code in np.tile(_CODES, VALUES)], np.int32)
    return builder.dense(source, weights, [gain / 127] * len(weights), bias, (6 / 255, -128), "RELU6")


def code_table(x: Int8) -> Float:
    return np.clip(3.0 * (x.astype(np.float64)[..., None] - _CODES) + 3, 0, 6)


def ripple(builder: ModelBuilder, source: int) -> int:
    """A small triangle wave of steep slopes is added to every value: gradients see little else."""
    wave = fold(builder, source, 5)
    scale = builder.quant(wave)[0]
    small = builder.constant(np.full((1, VALUES), 127, np.int8), [6 * INPUT_SCALE / (128 * scale) / 127])
    return builder.add(source, builder.binary("MUL", wave, small, (INPUT_SCALE / 16, 0)), (INPUT_SCALE, 0))


def ripple_table(x: Int8) -> Float:
    return np.asarray((x + 6 * folded(x, 5) / 128) * INPUT_SCALE)


def folds_of_sums() -> Masked:
    """Sums of values that wrap around: folds behind a mixing layer, so that no value can be looked at alone."""
    x, y, attacked, labels = drawn(110, 2.0)
    rng = np.random.default_rng(2)
    mixing = np.eye(VALUES)[rng.permutation(VALUES)] + 0.5 * np.eye(VALUES)[rng.permutation(VALUES)]

    def table(sums: NDArray[np.floating]) -> Float:
        return folded(np.clip(np.rint(sums / 1.5), -128, 127).astype(np.int8), 3) * 1.5 * INPUT_SCALE / 8

    trunk = Trunk.of(table(x @ mixing.T), y)
    builder = started()
    weights = np.rint(127 * mixing).astype(np.int8)
    sums = builder.dense(builder.input, weights, [1 / 127] * VALUES, None, (1.5 * INPUT_SCALE, 0))
    content = builder.build(trunk.all(builder, fold(builder, sums, 3)))
    known = Mixed(trunk, mixing, table)
    return Masked(content, None, attacked, labels, (4, 8), known=lambda bound: known.attack(attacked, labels, bound))
