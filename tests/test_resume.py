"""Checkpoints: a training killed for real goes on to the weights, bit for bit, of one that was not; what it shows."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tritguard.data import Dataset, load_dataset, write_dataset
from tritguard.errors import BadInputError
from tritguard.train import TrainConfig, TrainRecord, read_train_config
from tritguard.train.backend import keras, tf
from tritguard.train.config import QuantizeConfig
from tritguard.train.fit import train

CONFIG = """[train]
data = "{data}"
stem = 4
blocks = [{{ channels = 6, stride = 2 }}]
epochs = 16
batch_size = 16
augment = "shift-flip"
seed = 3
[train.quantize]
weights = "incremental"
activations = "int8"
first = "int8"
[train.adversarial]
attack = "pgd"
steps = 2
[train.jacobian]
output = 0.01
layers = 0.01
"""


def write_inputs(folder: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (200, 12, 12, 1), dtype=np.uint8)
    y = rng.integers(0, 3, 200)
    data = Dataset("noise", x[:40], y[:40], ("a", "b", "c"), "pixel/255", "CC0", x, y)
    write_dataset(folder / "noise.npz", data)
    (folder / "run.toml").write_text(CONFIG.format(data=folder / "noise.npz"))


def step_in(checkpoint: Path) -> int:
    with np.load(checkpoint) as arrays:
        return int(json.loads(str(arrays["state"]))["step"])


def killed_in_the_middle(config: Path, out: Path) -> int:
    """Start the verb, kill -9 it once it has done some epochs; the step it had kept."""
    command = [sys.executable, "-m", "tritguard", "train", str(config), "-o", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    checkpoint = out / "checkpoint.npz"
    try:
        deadline = time.monotonic() + 600
        while not checkpoint.exists() or step_in(checkpoint) < 2 * 13:
            assert process.poll() is None, process.stderr.read().decode() if process.stderr else ""
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.kill()
        assert process.wait() == -9
    return step_in(checkpoint)


def stop_at(step: int) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        if done == step:
            raise KeyboardInterrupt

    return report


def weights_of(folder: Path) -> list[Any]:
    return keras.saving.load_model(folder / "model.keras").get_weights()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainConfig, Dataset, TrainRecord]:
    """The folder of a training and its inputs, the settings, the data, the record."""
    folder = tmp_path_factory.mktemp("whole")
    write_inputs(folder)
    config, data = read_train_config(folder / "run.toml"), load_dataset(str(folder / "noise.npz"))
    return folder, config, data, train(config, data, folder, all_forms=False)


def assert_same(whole: TrainRecord, one: Path, resumed: TrainRecord, other: Path) -> None:
    assert (resumed.history, resumed.evaluation) == (whole.history, whole.evaluation)
    for a, b in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not (other / "checkpoint.npz").exists()


@pytest.mark.slow
def test_a_killed_and_a_stopped_training_end_in_the_same_weights(uninterrupted: Any, tmp_path: Path) -> None:
    """Killed, gone on with, stopped inside an epoch, gone on with; never from the checkpoint of another training."""
    folder, config, data, whole = uninterrupted
    kept = killed_in_the_middle(folder / "run.toml", tmp_path)
    assert 2 * 13 <= kept < config.epochs * 13 - 2
    inside = kept + (1 if (kept + 1) % 13 else 2)  # of 13 steps an epoch
    seen: list[int] = []

    def stopped(done: int, total: int) -> None:
        seen.append(done)
        stop_at(inside)(done, total)

    with pytest.raises(KeyboardInterrupt):
        train(config, data, tmp_path, stopped, checkpoint_seconds=0)
    assert seen[0] == kept and step_in(tmp_path / "checkpoint.npz") == inside
    with pytest.raises(BadInputError, match="another training"):
        train(config.model_copy(update={"seed": 4}), data, tmp_path)

    losses: list[float] = []
    resumed = train(config, data, tmp_path, show_loss=losses.append, all_forms=False)
    assert len(losses) == resumed.steps - inside
    assert losses[-1] == pytest.approx(resumed.loss)  # of the whole epoch, by its end
    assert_same(whole, folder, resumed, tmp_path)
    (tmp_path / "checkpoint.npz").write_bytes(b"broken")
    with pytest.raises(BadInputError, match="not a checkpoint"):
        train(config, data, tmp_path)


def test_a_training_shows_its_course_and_result(uninterrupted: Any) -> None:
    shown_in(uninterrupted[0], epochs=uninterrupted[1].epochs)


def shown_in(out: Path, epochs: int) -> None:
    """Event files that TensorFlow reads back, an SVG that is one, a card with the figures."""
    points: dict[str, list[int]] = {}
    for path in (out / "logs").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name in ("scalars", "")
                points.setdefault(value.tag, []).append(event.step)
    assert {"loss", "accuracy", "cross_entropy", "jacobian_output", "jacobian_layers"} <= set(points)
    assert set(points["loss"]) == set(range(1, epochs + 1))
    svg = ET.parse(out / "curve.svg").getroot()
    assert len(svg.findall("{*}polyline")) == 5
    card, record = (out / "card.md").read_text(), json.loads((out / "train.json").read_text())
    for accuracy in record["evaluation"].values():
        assert f"| {accuracy['clean']:.2%} | {accuracy['pgd']:.2%} |" in card
    for said in ("noise", "CC0", record["data_sha256"], "cross-entropy on PGD samples", "`learning_rate` | 0.02"):
        assert said in card


def test_a_stage_starts_from_an_earlier_ones_weights(tmp_path: Path) -> None:
    """From float weights to ternary ones, from a training's folder or its file; what does not fit is refused."""
    write_inputs(tmp_path)
    data, first = load_dataset(str(tmp_path / "noise.npz")), tmp_path / "first"
    plain = TrainConfig(stem=4, blocks=TrainConfig().blocks[:1], epochs=1, quantize=QuantizeConfig(weights="none"))
    train(plain, data, first, all_forms=False)
    second = plain.model_copy(update={"start": str(first), "quantize": QuantizeConfig(), "learning_rate": 1e-9})
    record = train(second, data, tmp_path / "second", all_forms=False)
    digest = hashlib.sha256((first / "model.keras").read_bytes()).hexdigest()
    assert record.start_sha256 == digest
    assert digest in (tmp_path / "second" / "card.md").read_text()
    earlier = keras.saving.load_model(first / "model.keras")
    for layer in keras.saving.load_model(tmp_path / "second" / "model.keras").layers:
        if "norm" not in layer.name:  # their statistics are taken anew
            for a, b in zip(layer.get_weights(), earlier.get_layer(layer.name).get_weights(), strict=True):
                np.testing.assert_allclose(a, b, atol=1e-6)
    by_file = second.model_copy(update={"start": str(first / "model.keras"), "epochs": 2})
    with pytest.raises(KeyboardInterrupt):
        train(by_file, data, tmp_path / "third", stop_at(1), checkpoint_seconds=0)
    shutil.copy(tmp_path / "second" / "model.keras", first / "model.keras")  # other weights in its place
    with pytest.raises(BadInputError, match="another training"):
        train(by_file, data, tmp_path / "third")
    for changes, message in (
        ({"stem": 8}, "has weights .* for separable's layer stem"),
        ({"blocks": TrainConfig().blocks[:2]}, "no weights for separable's layer block2_depthwise"),
        ({"blocks": TrainConfig().blocks[:1], "net": "stq-image"}, "no weights for stq_image's layer conv1"),
        ({"start": str(tmp_path / "none.keras")}, "none.keras: cannot be read"),
        ({"start": str(tmp_path / "noise.npz")}, "no weights of a .keras file"),
    ):
        with pytest.raises(BadInputError, match=message):
            train(second.model_copy(update=changes), data, tmp_path / "refused")
