"""The rules weights and activations are rounded by, against QKeras and the oracle, and the layers that apply them."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.support import qkeras_rules
from tritguard.train import quantizer as rule
from tritguard.train.backend import keras, tf
from tritguard.train.config import QuantizeConfig
from tritguard.train.layers import TernaryConv2D, TernaryDense, TernaryDepthwiseConv2D
from tritguard.train.quantize import dead_channels, findings, quantize

# Made with QKeras 0.9.0 on TensorFlow 2.21: x; ternary(alpha="auto")(x); and the mean trit of 4,000 draws of
# stochastic_ternary(alpha="auto") with the learning phase 1. One channel is tiny, one all zero.
QKERAS = np.load(Path(__file__).parent / "golden" / "qkeras_ternary.npz")
kernels = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.integers(1, 5)),
    elements=st.floats(-4, 4, width=32).filter(lambda value: value == 0 or abs(value) > 1e-3),
)


def ternarize(x: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    trits, scale = rule.ternarize(tf.constant(x), axes)
    return np.asarray(trits), np.asarray(scale)


@pytest.mark.parametrize("index", range(3))
def test_deployed_weights_are_those_of_qkeras(index: int) -> None:
    x = QKERAS[f"x{index}"]
    trits, scale = ternarize(x, tuple(range(x.ndim - 1)))
    np.testing.assert_array_equal(trits * scale, QKERAS[f"ternary{index}"])


@pytest.mark.parametrize("index", range(3))
def test_draws_have_the_mean_that_qkeras_draws_have(index: int) -> None:
    x = QKERAS[f"x{index}"]
    axes = tuple(range(x.ndim - 1))
    upper, lower, scale = rule.draw_probabilities(tf.constant(x), axes, temperature=8.0)
    mean = np.asarray(upper + lower - 1)
    # A trit's variance is at most 1: 5 standard errors of 4,000 draws. QKeras' trits of a dead channel are undefined.
    alive = np.broadcast_to(np.asarray(scale) > 0, x.shape)
    assert np.abs(mean - QKERAS[f"mean{index}"])[alive].max() < 5 / np.sqrt(4000)


@given(kernels)
@settings(deadline=None)
def test_scale_is_least_squares_and_a_threshold_divides(x: np.ndarray) -> None:
    trits, scale = ternarize(x, (0,))
    assert set(np.unique(trits)) <= {-1, 0, 1}
    for weights, channel, s in zip(x.T, trits.T, scale[0], strict=True):
        assert (channel * weights >= 0).all()
        if not channel.any():
            assert s == 0
            continue
        assert s == pytest.approx((weights @ channel) / (channel @ channel), rel=1e-4)
        magnitude = np.abs(weights)
        assert magnitude[channel == 0].max(initial=0) < magnitude[channel != 0].min()


@given(kernels)
@settings(deadline=None)
def test_a_channel_dies_only_where_all_is_zero(x: np.ndarray) -> None:
    trits, _ = ternarize(x, (0,))
    np.testing.assert_array_equal(trits.any(axis=0), x.any(axis=0))


@given(st.integers(0, 2**31), st.floats(1, 40))
@settings(deadline=None, max_examples=20)
def test_draws_follow_their_probabilities(seed: int, temperature: float) -> None:
    n = 2000
    x = np.random.default_rng(seed).normal(size=(30, 1)).astype(np.float32)
    p_upper, p_lower, _ = rule.draw_probabilities(tf.constant(x), (0,), temperature)
    uniform = keras.random.uniform((2, 30, n), seed=seed)
    draws = np.asarray(rule.drawn_trits(tf.tile(p_upper, (1, n)), tf.tile(p_lower, (1, n)), uniform))
    upper, lower = np.asarray(p_upper)[:, 0], np.asarray(p_lower)[:, 0]
    assert set(np.unique(draws)) <= {-1, 0, 1}
    error = 6 * np.sqrt(0.25 / n)  # 6 standard errors of a frequency
    for value, probability in ((1, upper * lower), (-1, (1 - upper) * (1 - lower))):
        assert np.abs((draws == value).mean(axis=1) - probability).max() < error


def test_gradient_goes_straight_through() -> None:
    layer = TernaryDense(3)
    layer.build((None, 5))
    x = tf.constant(np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32))
    for training in (False, True):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x, training=training))
        gradient = tape.gradient(loss, layer.trainable_variables[0])
        np.testing.assert_allclose(gradient, np.tile(np.asarray(x).sum(0)[:, None], (1, 3)), rtol=1e-5)


def test_depthwise_channels_have_scales_of_their_own() -> None:
    """One scale for the whole kernel, as QKeras has it, would leave the small channels nothing but zeros."""
    layer = TernaryDepthwiseConv2D(3)
    layer.build((None, 8, 8, 16))
    spread = np.logspace(-3, 0, 16).astype(np.float32)[:, None]
    kernel = np.random.default_rng(0).normal(size=(3, 3, 16, 1)).astype(np.float32) * spread
    layer.kernel.assign(kernel)
    trits, scale = layer.deployed_kernel()
    assert trits.any(axis=(0, 1)).all()
    assert scale.shape == (1, 1, 16, 1)
    one_for_all, _ = ternarize(kernel, (0, 1, 2))
    assert not one_for_all.any(axis=(0, 1)).all()


@pytest.mark.parametrize(
    ("ternary", "plain", "shape"),
    [
        (lambda: TernaryConv2D(5, 3, strides=2, padding="same", activation="relu"), keras.layers.Conv2D, (9, 8, 4)),
        (lambda: TernaryConv2D(6, 1, use_bias=False), keras.layers.Conv2D, (4, 4, 3)),
        (lambda: TernaryDepthwiseConv2D(3, strides=2, depth_multiplier=2), keras.layers.DepthwiseConv2D, (9, 9, 3)),
        (lambda: TernaryDense(4, activation="relu"), keras.layers.Dense, (11,)),
    ],
)
def test_a_layer_is_the_plain_layer_with_ternary_weights(ternary: Any, plain: Any, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    layer = ternary()
    layer.build((None, *shape))
    weights = [rng.normal(size=w.shape).astype(np.float32) for w in layer.trainable_variables]
    for variable, value in zip(layer.trainable_variables, weights, strict=True):
        variable.assign(value)
    config = layer.get_config()
    assert (config["rule"], config["temperature"]) == ("stochastic", 8.0)
    same = plain.from_config(layer.plain_config())
    same.build((None, *shape))
    trits, scale = layer.deployed_kernel()
    same.set_weights([trits * scale, *weights[1:]])
    x = rng.normal(size=(3, *shape)).astype(np.float32)
    np.testing.assert_allclose(layer(x), same(x), atol=1e-5)
    np.testing.assert_array_equal(layer(x), layer(x))
    # Few weights may twice be drawn the same; eight times, with a fixed seed, they are not.
    keras.utils.set_random_seed(0)
    draws = np.stack([layer(x, training=True) for _ in range(8)])
    assert np.ptp(draws, axis=0).max() > 0


def tensors() -> list[np.ndarray]:
    """Kernels of a convolution, a dense and a depthwise layer: normal, uniform, skewed by channel, one channel dead."""
    rng = np.random.default_rng(5)
    spread = np.logspace(-4, 1, 16).astype(np.float32)
    dead = rng.normal(size=(3, 3, 4, 8)).astype(np.float32)
    dead[..., 2] = 0
    return [
        rng.normal(size=(3, 3, 8, 16)).astype(np.float32),
        rng.uniform(-1, 1, (64, 10)).astype(np.float32),
        (rng.normal(size=(3, 3, 16)).astype(np.float32) * spread)[..., None],
        dead,
        np.round(rng.normal(size=(40, 6)) * 4).astype(np.float32) / 4,  # many equal magnitudes
    ]


@pytest.fixture(scope="module")
def qkeras(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What QKeras itself gives for `tensors()`; see tests/support/qkeras_rules.py."""
    for package in ("qkeras", "tf_keras"):
        if not find_spec(package):
            pytest.skip(f"needs the package {package}, of the extra 'dev'")
    folder = tmp_path_factory.mktemp("qkeras")
    arrays = {}
    for index, x in enumerate(tensors()):
        weight = np.random.default_rng(index).normal(size=x.shape).astype(np.float32)
        arrays |= {f"x{index}": x, f"weight{index}": weight}
    np.savez(folder / "in.npz", **arrays)
    command = [sys.executable, qkeras_rules.__file__, str(folder / "in.npz"), str(folder / "out.npz")]
    environment = os.environ | {"TF_USE_LEGACY_KERAS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(np.load(folder / "in.npz")) | dict(np.load(folder / "out.npz"))


def axes_of(x: np.ndarray) -> tuple[int, ...]:
    return tuple(range(x.ndim - 1))


@pytest.mark.parametrize("index", range(len(tensors())))
@pytest.mark.parametrize("phase", [0, 1])
def test_ternary_is_qkeras(qkeras: Any, index: int, phase: int) -> None:
    for case, alpha in qkeras_rules.DETERMINISTIC.items():
        x = tf.Variable(qkeras[f"x{index}"])
        with tf.GradientTape() as tape:
            trits, scale = rule.ternarize(x.value(), axes_of(tensors()[index]), alpha)
            quantized = rule.straight_through(x.value(), scale * trits, alpha)
            loss = tf.reduce_sum(quantized * qkeras[f"weight{index}"])
        name = f"ternary_{case}_{phase}_{index}"
        np.testing.assert_array_equal(quantized, qkeras[f"{name}_output"], err_msg=name)
        np.testing.assert_array_equal(tape.gradient(loss, x), qkeras[f"{name}_gradient"], err_msg=name)


@pytest.mark.parametrize("index", range(len(tensors())))
@pytest.mark.parametrize("alpha", qkeras_rules.STOCHASTIC)
def test_stochastic_ternary_is_qkeras(qkeras: Any, index: int, alpha: Any) -> None:
    """In training with the numbers QKeras drew; at inference QKeras' is its `ternary`."""
    x = tf.Variable(qkeras[f"x{index}"])
    name = f"stochastic_{alpha}_1_{index}"
    with tf.GradientTape() as tape:
        upper, lower, scale = rule.draw_probabilities(
            x.value(), axes_of(tensors()[index]), qkeras_rules.TEMPERATURE, alpha
        )
        trits = rule.drawn_trits(upper, lower, tf.constant(qkeras[f"{name}_uniform"]))
        quantized = rule.straight_through(x.value(), scale * trits)
        loss = tf.reduce_sum(quantized * qkeras[f"weight{index}"])
    np.testing.assert_array_equal(quantized, qkeras[f"{name}_output"])
    np.testing.assert_array_equal(tape.gradient(loss, x), qkeras[f"{name}_gradient"])
    for kind in ("output", "gradient"):
        at_inference = qkeras[f"stochastic_{alpha}_0_{index}_{kind}"]
        np.testing.assert_array_equal(at_inference, qkeras[f"ternary_{alpha}_0_{index}_{kind}"])


def test_stochastic_ternary_needs_an_automatic_scale() -> None:
    with pytest.raises(ValueError, match="auto"):
        rule.draw_probabilities(tf.ones((3, 2)), (0,), 8.0, alpha=0.5)


def test_channels_are_drawn_by_the_roulette() -> None:
    """Each pair of five channels is as frequent as in a roulette without replacement (chi-squared, p > 0.001)."""
    rng = np.random.default_rng(2)
    x = tf.constant((rng.normal(size=(6, 5)) * [1, 2, 3, 4, 5]).astype(np.float32))
    trits, scale = rule.ternarize(x, (0,))
    weights = 1 / (np.abs(x - trits * scale).sum(0) / np.abs(x).sum(0) + rule.EPSILON)
    assert weights.max() / weights.min() > 1.5
    expected: dict[frozenset[int], float] = {}
    for first, second in permutations(range(5), 2):
        probability = weights[first] / weights.sum() * weights[second] / (weights.sum() - weights[first])
        expected[frozenset((first, second))] = expected.get(frozenset((first, second)), 0) + probability
    generator = keras.random.SeedGenerator(1)
    draw = tf.function(lambda: rule.draw_channels(x, trits * scale, (0,), tf.constant(0.4), generator))
    counts = dict.fromkeys(expected, 0)
    n = 4000
    for _ in range(n):
        drawn = np.asarray(draw())
        assert drawn.shape == (1, 5)
        counts[frozenset(np.flatnonzero(drawn).tolist())] += 1  # a KeyError where not two were drawn
    chi_squared = sum((counts[pair] - n * p) ** 2 / (n * p) for pair, p in expected.items())
    assert chi_squared < 27.88  # the 0.999 quantile for 9 degrees of freedom


def test_incremental_layers_quantize_a_share_of_their_channels() -> None:
    layer = TernaryConv2D(8, 3, rule="incremental")
    layer.build((None, 5, 5, 2))
    trits, scale = layer.deployed_kernel()
    for share, count in ((0.0, 0), (0.5, 4), (0.875, 7), (1.0, 8)):
        layer.share.assign(share)
        kernel, float_kernel = np.asarray(layer.quantized_kernel(True)), np.asarray(layer.kernel)
        is_ternary = np.isclose(kernel, trits * scale, atol=1e-7).all((0, 1, 2))
        is_float = np.isclose(kernel, float_kernel, atol=1e-7).all((0, 1, 2))
        assert is_ternary.sum() == count
        assert is_float.sum() == 8 - count
    np.testing.assert_array_equal(layer.quantized_kernel(False), layer.quantized_kernel(True))
    assert [QuantizeConfig().share_at(p) for p in (0, 0.3, 0.6, 0.99, 1.0)] == [0.5, 0.75, 0.875, 1.0, 1.0]


def test_int8_activations_are_tflites_grid_and_can_be_differentiated_twice() -> None:
    x = tf.constant(np.random.default_rng(0).uniform(-2, 3, 1000).astype(np.float32))
    low, high = tf.constant(-1.0), tf.constant(2.3)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = rule.int8_activations(x, low, high)
            loss = tf.reduce_sum(y**2)
        gradient = inner.gradient(loss, x)
        penalty = tf.reduce_sum(gradient**2)
    wanted = tf.quantization.fake_quant_with_min_max_args(x, -1.0, 2.3)
    np.testing.assert_allclose(y, wanted, atol=1e-5)
    inside = (np.asarray(x) > -1.0) & (np.asarray(x) < 2.29)
    np.testing.assert_allclose(np.asarray(gradient)[inside], 2 * np.asarray(y)[inside], rtol=1e-5)
    assert not np.asarray(gradient)[(np.asarray(x) < -1.02) | (np.asarray(x) > 2.32)].any()
    assert np.asarray(outer.gradient(penalty, x))[inside].any()


def test_findings_name_dead_channels_and_kernels_of_one_scale() -> None:
    inputs = keras.Input((8, 8, 16))
    net = keras.Model(inputs, keras.layers.DepthwiseConv2D(3, name="depthwise")(inputs))
    spread = np.logspace(-3, 0, 16)[:, None]
    kernel = np.random.default_rng(0).normal(size=(3, 3, 16, 1)) * spread
    net.get_layer("depthwise").set_weights([kernel, np.zeros(16)])
    assert findings(quantize(net, QuantizeConfig())) == ()
    net = quantize(net, QuantizeConfig(one_scale=True))
    one_scale, dead = findings(net)
    assert one_scale.startswith("depthwise: one scale for 16 channels")
    assert dead == f"depthwise: {dead_channels(net)['depthwise']} of 16 channels are dead: all their weights are zero"
