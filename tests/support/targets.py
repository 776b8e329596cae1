"""A small ternary network as attacks see it. A plugin: test modules name it in `pytest_plugins`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.known_models import ternary_model
from tritguard.attack import Target
from tritguard.emit import write_bundle
from tritguard.twin import Twin


@pytest.fixture
def target(tmp_path: Path) -> Target:
    """With 20 inputs, all of which it answers as their labels say."""
    bundle = write_bundle(ternary_model(), tmp_path / "bundle", name="ops")
    x = np.random.default_rng(0).integers(-128, 128, (20, 8, 8, 3), dtype=np.int8)
    twin = Twin(bundle)
    return Target(twin, None, x, twin.predict(x).labels, seed=1)


def ignore(_done: int, _total: int) -> None:
    """Progress that nobody looks at."""
