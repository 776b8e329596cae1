"""The answers that exports of the lively model have to give. A plugin: test modules name it in `pytest_plugins`."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.device_support import inputs
from tests.support.export_support import expected
from tritguard.emit import Bundle
from tritguard.predictor import Int8


@pytest.fixture(scope="session")
def answers_of_lively(lively_bundle: Bundle) -> tuple[Int8, Int8]:
    x = inputs(lively_bundle, 50, seed=5)
    answers = expected(lively_bundle, x)
    assert len(np.unique(answers, axis=0)) > 40  # so that nothing equals them by chance
    return x, answers
