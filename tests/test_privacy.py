"""Membership inference: finds a leak that was planted, and none where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tritguard.attack.membership import likelihood_ratio, loss_score, scaled_confidence
from tritguard.cli import app
from tritguard.data import Dataset
from tritguard.data.dataset import read_dataset, write_dataset
from tritguard.evaluate.privacy_result import Leak, PrivacyResult
from tritguard.evaluate.roc import advantage, auc, hits_at
from tritguard.train import TrainConfig
from tritguard.train.config import Block, QuantizeConfig

pytest.importorskip("tensorflow", reason="training needs the extra 'train'")

MEMBERS = 120


def config(data: Path, epochs: int, learning_rate: float) -> TrainConfig:
    return TrainConfig(
        data=str(data),
        stem=16,
        blocks=(Block(channels=32, stride=2), Block(channels=64)),
        samples=MEMBERS,
        batch_size=20,
        epochs=epochs,
        learning_rate=learning_rate,
        quantize=QuantizeConfig(weights="none"),
    )


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of noise with labels of chance: nothing can be learned of them but which they are."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (2, MEMBERS, 12, 12, 1), dtype=np.uint8), rng.integers(0, 3, (2, MEMBERS))
    path = tmp_path_factory.mktemp("data") / "noise.npz"
    write_dataset(path, Dataset("noise", x[0], y[0], tuple("abc"), "pixel/255", "none", x[1], y[1]))
    return path


def studied(folder: Path, training: TrainConfig, *options: str) -> PrivacyResult:
    from tritguard.train.fit import train  # noqa: PLC0415 - imports TensorFlow

    train(training, read_dataset(Path(training.data)), folder / "net")
    done = CliRunner().invoke(app, ["privacy", str(folder / "net"), "--out", str(folder / "out"), *options])
    assert done.exit_code == 0, done.output
    assert "<polyline" in (folder / "out" / "privacy.html").read_text()
    return PrivacyResult.model_validate_json((folder / "out" / "privacy.json").read_bytes())


def by_name(result: PrivacyResult) -> dict[tuple[str, str, str], Leak]:
    return {(leak.precision, leak.attack, leak.shown): leak for leak in result.models[0].leaks}


def test_an_overfitted_net_leaks(noise: Path, tmp_path: Path) -> None:
    result = studied(tmp_path, config(noise, epochs=40, learning_rate=0.01), "--shadows", "2")
    leaks = by_name(result)
    assert set(leaks) == {
        ("float", "loss threshold", "logits"), ("float", "offline LiRA", "logits"),
        ("int8", "loss threshold", "logits"), ("int8", "offline LiRA", "logits"),
        ("int8", "loss threshold", "scores"), ("int8", "offline LiRA", "scores"),
        ("float", "label only", "labels"), ("int8", "label only", "labels"),
    }  # fmt: skip
    for leak in leaks.values():
        assert leak.auc.low > 0.6, leak
        assert leak.advantage.low > 0.2, leak
    assert leaks["int8", "loss threshold", "logits"].auc.value > 0.85
    (model,) = result.models
    assert model.fits[1].members.value > 0.9
    assert model.fits[1].others.value < 0.6
    assert model.control is not None
    assert model.control.low <= 0.5 <= model.control.high
    assert {issue.code for issue in result.issues} == {"FEW_SAMPLES", "FEW_SHADOWS", "NO_DEVICE"}


def test_a_net_that_learned_nothing_does_not(noise: Path, tmp_path: Path) -> None:
    result = studied(tmp_path, config(noise, epochs=1, learning_rate=1e-6), "--shadows", "0")
    for leak in result.models[0].leaks:
        assert leak.auc.low <= 0.5 <= leak.auc.high, leak
        assert leak.advantage.low <= 0 <= leak.advantage.high, leak
    assert "NO_SHADOWS" in {issue.code for issue in result.issues}


def test_measures_of_separation() -> None:
    rng = np.random.default_rng(1)
    values = []
    for _ in range(200):
        members, others = rng.normal(size=100), rng.normal(size=100)
        values.append((auc(members, others), advantage(members, others)))
    assert np.mean([area.low <= 0.5 <= area.high for area, _ in values]) > 0.9
    assert abs(np.mean([best.value for _, best in values])) < 0.02  # chosen where measured it would be 0.1
    apart = auc(rng.normal(1, 1, 20_000), rng.normal(0, 1, 20_000))
    assert apart.low < 0.7602 < apart.high  # the normal distribution function at 1 / sqrt(2)
    assert hits_at(np.array([1.0, 2, 3]), np.array([0.0, 1, 2]), 0.0).k == 1
    assert hits_at(np.array([1.0, 2, 3]), np.array([0.0, 1, 2]), 0.34).k == 2
    assert hits_at(np.ones(3), np.ones(3), 0.5).k == 0  # ties tell nothing apart


def test_the_likelihood_ratio_knows_what_is_hard() -> None:
    """Samples differ far more than membership does: only the ratio sees it."""
    rng, n = np.random.default_rng(2), 2000
    hardness, member = rng.normal(0, 5, n), np.arange(n) < n // 2
    shadows = hardness + rng.normal(0, 1, (8, n))
    seen = rng.random((8, n)) < 0.5
    target = hardness + rng.normal(0, 1, n) + 1.5 * member
    score = likelihood_ratio(target, shadows + 1.5 * seen, seen)
    known = ~np.isnan(score)
    assert known.mean() > 0.98
    assert auc(score[known & member], score[known & ~member]).value > 0.8
    assert auc(target[member], target[~member]).value < 0.65


def test_confidence_does_not_saturate() -> None:
    logits, y = np.array([[900.0, 0, 0], [0, 900, 0], [1, 1, 1]]), np.array([0, 0, 2])
    assert scaled_confidence(logits, y) == pytest.approx([900 - np.log(2), -900, -np.log(2)])
    assert loss_score(logits, y) == pytest.approx([0, -900, -np.log(3)])
