"""How fast the twin is, on one core, beside TensorFlow Lite Micro's interpreter."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from tritguard.emit import Bundle
from tritguard.oracle import Oracle
from tritguard.predictor import Int8
from tritguard.twin import Twin

_ROUNDS = 3


def twin_and_oracle(bundle: Bundle) -> tuple[float, float]:
    """Inferences a second of both; the best of three rounds, since other programs only ever slow one down."""
    x = np.random.default_rng(0).integers(-128, 128, (256, *bundle.manifest.input.shape), dtype=np.int8)
    twin, oracle = Twin(bundle, threads=1), Oracle(bundle.model_path.read_bytes())
    return _rate(twin.predict, x), _rate(oracle.predict, x[:16])


def _rate(predict: Callable[[Int8], object], x: Int8) -> float:
    best = 0.0
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        predict(x)
        best = max(best, len(x) / (time.perf_counter() - start))
    return best
