"""The demo's network, trained once a session. A plugin: test modules name it in `pytest_plugins`."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from tritguard.data import load_dataset
from tritguard.data.fashion_mnist import DEBIAN_DIR
from tritguard.train import TrainConfig, TrainRecord
from tritguard.train.config import RECORD


@pytest.fixture(scope="session")
def trained_demo(common_temp: Path) -> tuple[Path, TrainRecord]:
    """What `tritguard train` leaves, and its record; with several test processes, one trains and the others wait."""
    if not DEBIAN_DIR.is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    pytest.importorskip("tensorflow", reason="training needs the extra 'train'")
    from tritguard.train.fit import train  # noqa: PLC0415 - imports TensorFlow

    out = common_temp / "trained-demo"
    with FileLock(f"{out}.lock"):
        if not (out / RECORD).exists():
            train(TrainConfig(), load_dataset("fashion-mnist"), out)
    return out, TrainRecord.model_validate_json((out / RECORD).read_text())
