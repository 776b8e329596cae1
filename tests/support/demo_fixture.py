"""The demo's network, trained once for the whole run. A plugin: test modules name it in `pytest_plugins`.

It is trained on a fifth of the demo's samples, and evaluated on a fifth of its test set, in a quarter of the time.
`scripts/bench demo` trains all of it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.made_once import made_once
from tests.support.shortened import shortened
from tritguard.data import load_dataset
from tritguard.data.fashion_mnist import DEBIAN_DIR
from tritguard.train import TrainConfig, TrainRecord
from tritguard.train.config import RECORD


@pytest.fixture(scope="session")
def trained_demo(common_temp: Path) -> tuple[Path, TrainRecord]:
    """The folder that `tritguard train` leaves, and its record."""
    if not DEBIAN_DIR.is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    pytest.importorskip("tensorflow", reason="training needs the extra 'train'")
    from tritguard.train.fit import train  # noqa: PLC0415 - imports TensorFlow

    data = shortened(load_dataset("fashion-mnist"), tests=1000)
    config = TrainConfig(samples=6500, epochs=2, batch_size=50)
    out = made_once(common_temp / "trained-demo", lambda folder: train(config, data, folder, all_forms=False))
    return out, TrainRecord.model_validate_json((out / RECORD).read_text())
