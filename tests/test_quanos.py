"""QUANOS: sensitivity by layer, widths by sensitivity, weights on their grids, ternary ones packed as such."""

from __future__ import annotations

from itertools import pairwise
from typing import get_args

import numpy as np
import pytest

from tritguard.convert.fold_norms import fold_norms
from tritguard.train import TrainConfig
from tritguard.train.backend import keras
from tritguard.train.nets import build_net
from tritguard.train.quanos import Width, bit_widths, noise_sensitivity, on_grid, with_widths


def test_sensitivity_is_the_relative_change_of_a_layers_output() -> None:
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(3, use_bias=False, name="hidden")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(keras.layers.ReLU()(hidden)))
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    assert noise_sensitivity(model, x, x) == {"hidden": 0.0, "head": 0.0}
    assert noise_sensitivity(model, x, 1.25 * x)["hidden"] == pytest.approx(0.25, rel=1e-4)  # linear, without a bias


def test_the_more_sensitive_the_fewer_bits() -> None:
    sensitivity = {f"layer{n}": float(value) for n, value in enumerate(np.random.default_rng(0).permutation(9))}
    widths = bit_widths(sensitivity)
    ranked = [widths[name] for name in sorted(sensitivity, key=lambda name: -sensitivity[name])]
    assert ranked == [2] * 3 + [4] * 3 + [8] * 3
    assert set(bit_widths({"a": 1.0, "b": 0.5}).values()) == {2, 4}


@pytest.mark.parametrize("width", get_args(Width))
def test_weights_lie_on_the_grid(width: Width) -> None:
    kernel = np.random.default_rng(width).normal(size=(3, 3, 5, 7)).astype(np.float32)
    kernel[..., 0] = 0
    quantized = on_grid(kernel, width, (0, 1, 2))
    for channel in np.moveaxis(quantized, -1, 0):
        values = np.unique(np.abs(channel[channel != 0]))
        assert len(values) < 2 ** (width - 1)
    coarser = [np.abs(kernel - on_grid(kernel, bits, (0, 1, 2))).mean() for bits in (2, 4, 8)]
    assert all(a > b for a, b in pairwise(coarser))


def test_layers_of_two_bits_are_ternary_in_the_deployed_network() -> None:
    model = build_net(TrainConfig.model_validate({"net": "ds-cnn"}), (49, 10, 1), 4)
    x = np.random.default_rng(0).normal(size=(20, 49, 10, 1)).astype(np.float32)
    widths = bit_widths(noise_sensitivity(model, x, x + np.float32(0.1) * np.sign(x)))
    quantized = with_widths(model, widths, x)
    assert {name for name, width in widths.items() if width == 2} == set(fold_norms(quantized).trits)
    assert np.isfinite(np.asarray(quantized(x))).all()
