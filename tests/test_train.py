"""The ternary rule, its layers, batch-norm recalibration, and the fit loop."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.support.shared import ROOT
from tritguard.cli import app
from tritguard.convert import keras_to_tflite
from tritguard.data import Dataset, to_input_bytes, write_dataset
from tritguard.errors import BadInputError, BadModelError
from tritguard.graph import read_graph
from tritguard.oracle import Oracle
from tritguard.train import TrainConfig, TrainRecord, read_train_config
from tritguard.train.backend import keras
from tritguard.train.config import CALIBRATION, MODEL, Block, QuantizeConfig
from tritguard.train.fit import train
from tritguard.train.layers import Int8Activations
from tritguard.train.nets import NETS, build_net
from tritguard.train.optimizer import make_optimizer
from tritguard.train.quantize import observe_ranges, plain, quantize, settled
from tritguard.train.recalibrate import norm_layers, recalibrate

pytestmark = pytest.mark.slow
TINY = TrainConfig(stem=4, blocks=(Block(channels=6, stride=2),), epochs=2, batch_size=16, learning_rate=0.02, seed=3)


def small_net(seed: int = 0) -> Any:
    keras.utils.set_random_seed(seed)
    return quantize(build_net(TINY, (12, 12, 1), 3), QuantizeConfig(temperature=12.0))


def test_weight_decay_is_adamws_and_leaves_biases_and_norms_alone() -> None:
    config = TINY.model_copy(update={"weight_decay": 0.1})
    model = build_net(TINY, (12, 12, 1), 3)
    before = [variable.numpy() for variable in model.trainable_variables]
    optimizer = make_optimizer(config, 10, model.trainable_variables)
    optimizer.apply([np.zeros_like(values) for values in before], model.trainable_variables)
    for variable, values in zip(model.trainable_variables, before, strict=True):
        left = 1 - config.learning_rate * 0.1 if values.ndim > 1 else 1  # without a gradient Adam itself does nothing
        np.testing.assert_allclose(variable.numpy(), left * values, rtol=1e-5)
    assert make_optimizer(TINY, 10, model.trainable_variables).weight_decay is None


def test_the_registry_is_what_the_settings_take() -> None:
    assert set(NETS) == set(get_args(TrainConfig.model_fields["net"].annotation))


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        ({}, ("TernaryConv2D", "TernaryDepthwiseConv2D", "TernaryDense")),
        ({"weights": "ternary", "first": "int8"}, ("Conv2D", "TernaryDepthwiseConv2D", "TernaryDense")),
        ({"last": "int8"}, ("TernaryConv2D", "TernaryDepthwiseConv2D", "Dense")),
        ({"weights": "none"}, ("Conv2D", "DepthwiseConv2D", "Dense")),
    ],
)
def test_quantize_swaps_layers_and_keeps_weights(settings: dict[str, Any], kinds: tuple[str, ...]) -> None:
    plain = build_net(TINY, (12, 12, 1), 3)
    model = quantize(plain, QuantizeConfig(**settings))
    got = [type(model.get_layer(name)).__name__ for name in ("stem", "block1_depthwise", "logits")]
    assert tuple(got) == kinds
    for one, other in zip(plain.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    rules = {layer.rule for layer in model.layers if type(layer).__name__.startswith("Ternary")}
    assert rules <= {settings.get("weights", "stochastic")}


def test_a_layer_used_twice_is_refused() -> None:
    inputs = keras.Input((5,))
    twice = keras.layers.Dense(5, name="twice")
    with pytest.raises(BadModelError, match="twice"):
        quantize(keras.Model(inputs, twice(twice(inputs))), QuantizeConfig())


def test_serialisation_round_trip(tmp_path: Path) -> None:
    model = small_net()
    model.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    x = np.random.default_rng(0).random((4, 12, 12, 1), np.float32)
    np.testing.assert_array_equal(model(x), loaded(x))
    assert loaded.get_layer("stem").temperature == 12.0
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in model.layers]


def test_recalibrated_norms_normalise_their_inputs() -> None:
    model = small_net()
    x = np.random.default_rng(0).random((200, 12, 12, 1), np.float32)
    recalibrate(model, x)
    for norm in norm_layers(model):
        y = np.asarray(keras.Model(model.input, norm.output)(x, training=False), np.float64)
        live = np.asarray(norm.moving_variance) > 0.1  # elsewhere BN's epsilon, 1e-3, shows
        np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), 0, atol=1e-3)
        np.testing.assert_allclose(y.var(axis=(0, 1, 2))[live], 1, atol=0.02)


def test_settled_weights_are_those_of_every_call_and_quantized_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).random((20, 12, 12, 1), np.float32)
    for weights in ("stochastic", "none"):
        model = quantize(build_net(TINY, (12, 12, 1), 3), QuantizeConfig(weights=weights, activations="int8"))
        before = np.asarray(model(x, training=False))
        with settled(model), monkeypatch.context() as broken:
            for name in ("ternarize", "int8_weights"):
                broken.setattr(f"tritguard.train.quantizer.{name}", None)
            np.testing.assert_array_equal(model(x, training=False), before)
        for layer in model.layers:
            layer.set_weights([-values for values in layer.get_weights()])
        assert not np.array_equal(model(x, training=False), before)


def stripes(n: int, dtype: Any = np.uint8) -> tuple[np.ndarray, np.ndarray]:
    """Noisy stripes: across, upright or aslant."""
    rng = np.random.default_rng(n)
    y = rng.integers(0, 3, n)
    i, j = np.mgrid[:12, :12]
    patterns = np.stack([i % 4 < 2, j % 4 < 2, (i + j) % 4 < 2]) * 200.0
    x = np.clip(patterns[y] + rng.normal(scale=25, size=(n, 12, 12)), 0, 255)[..., None]
    return x.astype(dtype), y


def striped(**changes: Any) -> Dataset:
    x, y = stripes(480)
    x_test, y_test = stripes(90)
    fields: dict[str, Any] = {
        "name": "stripes",
        "x_test": x_test,
        "y_test": y_test,
        "classes": ("across", "upright", "aslant"),
        "input_unit": "pixel/255",
        "licence": "CC0",
        "x_train": x,
        "y_train": y,
    }
    return Dataset(**(fields | changes))


def weights_of(folder: Path) -> list[np.ndarray]:
    loaded = keras.saving.load_model(folder / "model.keras")
    return [np.asarray(variable) for variable in loaded.weights]


def test_train_learns_and_repeats(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    config = TINY.model_copy(update={"epochs": 8, "calibration": 40})
    record = train(config, striped(), tmp_path / "a", lambda done, total: seen.append((done, total)))
    assert record.accuracy > 0.9
    assert record.steps == 8 * 30
    total = 240 + 3 + 3
    assert set(record.evaluation) == {"float", "int8", "ternary"}
    assert record.evaluation["ternary"].clean == record.accuracy
    assert len(record.history) == 8
    assert record.loss == record.history[-1]["loss"] < record.history[0]["loss"]
    assert seen == [(done, total) for done in range(total + 1)]
    assert TrainRecord.model_validate_json((tmp_path / "a" / "train.json").read_bytes()) == record
    assert set(record.dead_channels) == {"stem", "block1_depthwise", "block1_pointwise", "logits"}
    calibration = np.load(tmp_path / "a" / "calibration.npz")["x"]
    assert (calibration.dtype, calibration.shape) == (np.uint8, (40, 12, 12, 1))

    again = train(config, striped(), tmp_path / "b", all_forms=False)
    assert again.evaluation == {"ternary": record.evaluation["ternary"]}
    assert again.model_copy(update={"seconds": record.seconds, "evaluation": record.evaluation}) == record
    for one, other in zip(weights_of(tmp_path / "a"), weights_of(tmp_path / "b"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_activations_rounded_in_training_are_those_of_the_oracle(tmp_path: Path) -> None:
    """Ranges, and the class of every sample, of the net as trained against the converted one on the interpreter."""
    settings = QuantizeConfig(activations="int8", first="int8")
    config = TINY.model_copy(update={"epochs": 6, "calibration": 240, "quantize": settings})
    train(config, striped(), tmp_path, all_forms=False)
    content = keras_to_tflite(tmp_path / MODEL, tmp_path / CALIBRATION)
    graph = read_graph(content)
    calibration = np.load(tmp_path / CALIBRATION)["x"] / np.float32(255)
    rounded = quantize(plain(keras.saving.load_model(tmp_path / MODEL)), settings, (0.0, 1.0))
    observe_ranges(rounded, calibration)
    scales = [float(layer.high - layer.low) / 255 for layer in rounded.layers if isinstance(layer, Int8Activations)]
    tensors = [graph.tensors[index] for index in (graph.input, *(op.output for op in graph.ops[:-1]))]
    np.testing.assert_allclose(scales, [tensor.scale for tensor in tensors], rtol=0.01)
    x, _ = stripes(300)
    scores = Oracle(content).predict(to_input_bytes(x, tensors[0].scale, tensors[0].zero_point)).scores
    same = scores.argmax(axis=1) == np.asarray(rounded(x / np.float32(255), training=False)).argmax(axis=1)
    assert same.mean() >= 0.99


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": None, "y_train": None}, "no training set"),
        ({"x_train": np.zeros((9, 12, 12, 1), np.int8), "y_train": np.zeros(9, int)}, "int8"),
        ({"x_train": np.zeros((9, 12), np.uint8), "y_train": np.zeros(9, int)}, "shape"),
        ({"x_train": np.full((32, 12, 12, 1), 3e38, np.float32), "y_train": np.zeros(32, int)}, "loss became"),
    ],
)
def test_sets_that_cannot_be_trained_on_leave_nothing(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        train(TINY, striped(**changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_training_that_diverges_ends_at_once_and_leaves_no_checkpoint(tmp_path: Path) -> None:
    seen: list[int] = []
    config = TINY.model_copy(update={"learning_rate": 1e38})
    with pytest.raises(BadInputError, match="became NaN or infinite; lower learning_rate"):
        train(config, striped(), tmp_path, lambda done, total: seen.append(done), checkpoint_seconds=0)
    assert 0 < seen[-1] < 30  # checkpoints were written, and the epoch has 30 steps
    assert not (tmp_path / "checkpoint.npz").exists()


def test_config_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        'name = "other verbs\'"\n[train]\nstem = 8\nblocks = [{channels = 12, stride = 2}, {channels = 16}]\n'
    )
    config = read_train_config(path)
    assert (config.stem, config.blocks) == (8, (Block(channels=12, stride=2), Block(channels=16, stride=1)))
    assert config.epochs == TrainConfig().epochs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nwidth = 3\n", r"run\.toml:2: train\.width"),
        ("[train]\nepochs = 0\n", r"run\.toml:2: train\.epochs"),
        (
            "[train.adversarial]\nramp = [0.5, 0.2]\n",
            r"run\.toml:2: train\.adversarial\.ramp: the end lies before the start",
        ),
        ("[attack]\n", r"no \[train\] table"),
        ("[train\n", "not TOML"),
    ],
)
def test_config_errors_name_the_key(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(BadInputError, match=message):
        read_train_config(path)


def test_the_demo_trains_with_the_defaults() -> None:
    assert read_train_config(ROOT / "docs" / "demo.toml") == TrainConfig()


def test_missing_tensorflow_says_what_to_install() -> None:
    code = "import sys; sys.modules['tensorflow'] = None; import tritguard.train.fit"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ToolMissingError" in run.stderr
    assert "pip install 'tritguard[attack]' ('tritguard[train]' to train only)" in run.stderr


def test_verb(tmp_path: Path) -> None:
    write_dataset(tmp_path / "stripes.npz", striped())
    config = tmp_path / "run.toml"
    config.write_text(f'[train]\ndata = "{tmp_path / "stripes.npz"}"\nstem = 4\nblocks = []\nbatch_size = 32\n')
    out = tmp_path / "out"
    arguments = ["train", "--config", str(config), "-o", str(out), "--epochs", "1", "--samples", "64", "--seed", "5"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "of 90 test samples right" in result.output
    record = json.loads((out / "train.json").read_text())
    assert (record["config"]["seed"], record["steps"], record["train_samples"]) == (5, 2, 64)
    both = CliRunner().invoke(app, ["train", str(config), "-c", str(tmp_path / "none.toml"), "-o", str(out)])
    assert "two files of settings" in str(both.exception)
    left = ["calibration.npz", "card.md", "curve.svg", "logs", "model.keras", "train.json"]
    assert sorted(path.name for path in out.iterdir()) == left
