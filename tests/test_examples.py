"""The trained models in examples/: they convert, and are what examples/README.md says they are."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.bench.robustness_data import digits
from tests.support.shared import ROOT, shared_file
from tritguard.api import read_run_config
from tritguard.cli import app
from tritguard.data import SampleArray, load_dataset, to_input_bytes
from tritguard.emit import open_bundle
from tritguard.train import TrainRecord
from tritguard.twin import Twin

EXAMPLES = ROOT / "examples"
# | [name](name/card.md) | ... | right of samples | SHA-256 |
ROWS = re.findall(
    r"^\| \[([\w-]+)\].* \| ([\d,]+) of ([\d,]+) \| `(\w{64})` \|$", (EXAMPLES / "README.md").read_text(), re.M
)


def samples(name: str) -> tuple[SampleArray, np.ndarray]:
    """What the README's count of right answers is about."""
    if name.startswith("cifar10"):
        subset = np.load(shared_file("data/cifar10_lossless_subset.npz"))
        return subset["test_images"], subset["test_labels"].astype(np.int64)
    if name.startswith("fashion"):
        fashion = load_dataset("fashion-mnist")
        return fashion.x_test[:1000], fashion.y_test[:1000].astype(np.int64)
    shared_file("data/fsdd.npz")
    data = digits(training=False)
    return data.x_test, data.y_test


def converted(model: Path, out: Path, *options: str) -> tuple[Twin, float, int]:
    done = CliRunner().invoke(app, ["convert", str(model), "-o", str(out), *options])
    assert done.exit_code == 0, done.output
    bundle = open_bundle(out)
    return Twin(bundle), bundle.manifest.input.scale, bundle.manifest.input.zero_point


def right(deployed: tuple[Twin, float, int], x: SampleArray, y: np.ndarray) -> np.ndarray:
    """bool[n], whether each sample is told right."""
    twin, scale, zero_point = deployed
    return np.asarray(twin.predict(to_input_bytes(x, scale, zero_point)).labels == y)


def test_the_readme_has_a_row_for_each_folder() -> None:
    assert sorted(name for name, *_ in ROWS) == sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())


def test_the_demo_attacks_a_trained_network_as_it_does_its_own() -> None:
    own, trained = (tomllib.loads((ROOT / "docs" / f"{name}.toml").read_text()) for name in ("demo", "demo-pretrained"))
    assert own.pop("train") == {"data": trained.pop("data")}
    for kind in ("model", "control"):
        assert (ROOT / trained.pop(kind)).is_file()
    assert own == trained


def test_every_plan_of_the_demo_is_one_and_its_models_are_there() -> None:
    plans = sorted(set(re.findall(r"docs/[\w-]+\.toml", (ROOT / "scripts" / "demo").read_text())))
    assert plans == ["docs/cifar10-pretrained.toml", "docs/demo-pretrained.toml", "docs/demo.toml"]
    for plan in plans:
        config = read_run_config(ROOT / plan)
        for model in (config.model, config.control):
            assert model is None or (ROOT / model).is_file()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count", "total", "digest"), ROWS, ids=[row[0] for row in ROWS])
def test_an_example_is_what_the_readme_says(name: str, count: str, total: str, digest: str, tmp_path: Path) -> None:
    folder = EXAMPLES / name
    assert sum(path.stat().st_size for path in folder.iterdir()) < 3_000_000
    content = (folder / "model.tflite").read_bytes()
    assert hashlib.sha256(content).hexdigest() == digest
    record = TrainRecord.model_validate_json((folder / "train.json").read_bytes())
    assert record.data_sha256 in (folder / "card.md").read_text()
    x, y = samples(name)
    assert len(x) == int(total.replace(",", ""))
    golden = right(converted(folder / "model.tflite", tmp_path / "golden"), x, y)
    assert golden.sum() == int(count.replace(",", ""))

    np.savez(tmp_path / "some.npz", x=x[:200:10])  # other inputs than its .tflite was made with: nearly alike
    again = converted(folder / "model.keras", tmp_path / "again", "--calibration", str(tmp_path / "some.npz"))
    some = slice(min(len(x), 500))
    assert abs(int(right(again, x[some], y[some]).sum()) - int(golden[some].sum())) <= 0.02 * len(x[some])
