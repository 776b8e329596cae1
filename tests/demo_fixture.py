"""The demo's network, trained once a session. A plugin: test modules name it in `pytest_plugins`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tritguard.data import load_dataset
from tritguard.data.fashion_mnist import DEBIAN_DIR
from tritguard.train import TrainConfig, TrainRecord


@pytest.fixture(scope="session")
def trained_demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainRecord]:
    """What `tritguard train` leaves, and its record."""
    if not DEBIAN_DIR.is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    pytest.importorskip("tensorflow", reason="training needs the extra 'train'")
    from tritguard.train.fit import train  # noqa: PLC0415 - imports TensorFlow

    out = tmp_path_factory.mktemp("trained")
    return out, train(TrainConfig(), load_dataset("fashion-mnist"), out)
