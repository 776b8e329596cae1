"""A linear network of random weights with any input scale, as a victim of attacks, and its input's grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.support.tflite_builder import ModelBuilder
from tritguard.attack import Target
from tritguard.campaign.store import Store
from tritguard.data import Dataset, to_input_bytes
from tritguard.emit import write_bundle
from tritguard.emit.bundle import EdgeTensor
from tritguard.evaluate.robustness.search import Victim
from tritguard.twin import Twin

VALUES, CLASSES = 12, 3


def edge(scale: float, zero_point: int = -128) -> EdgeTensor:
    return EdgeTensor(name="input", shape=(VALUES,), scale=scale, zero_point=zero_point)


def victim(folder: Path, name: str, scale: float, data: Dataset) -> tuple[Victim, EdgeTensor]:
    """A linear network of random weights, with this scale at its input."""
    builder = ModelBuilder((VALUES,), scale, -128)
    weights = np.random.default_rng(1).integers(-127, 128, (CLASSES, VALUES)).astype(np.int8)
    out = builder.dense(builder.input, weights, [0.01] * CLASSES, None, (scale * 10, 0))
    bundle = write_bundle(builder.build(out), folder / name, name=name)
    x = to_input_bytes(data.x_test, scale, -128)
    target = Target(Twin(bundle), None, x, data.y_test, seed=0)
    return Victim(
        name, bundle.manifest.model_sha256, target, Store(folder / "campaign.db", name)
    ), bundle.manifest.input
