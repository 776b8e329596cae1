"""What the tests of build and device share besides their fixtures."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.tflite_builder import ModelBuilder
from tritguard.build import Build
from tritguard.emit import Bundle
from tritguard.predictor import Int8

BOARDS = ("mps2-an386", "netduinoplus2")
# Emulated, and one of each core class and driver beyond those.
OTHER_BOARDS = (
    "lm3s6965evb", "microbit", "mps2-an385", "mps2-an385-m0plus", "mps2-an500", "mps2-an505", "mps3-an547",
)  # fmt: skip

# Around the model the firmware starts and stops SysTick, and calls.
TIMER_INSTRUCTIONS = 40

Builder = Callable[[Bundle, str], Build]


def inputs(bundle: Bundle, count: int, seed: int = 0) -> Int8:
    """int8[count, *input_shape], uniform."""
    rng = np.random.default_rng(seed)
    return rng.integers(-128, 128, (count, *bundle.manifest.input.shape), dtype=np.int8)


def changed_bundle(bundle: Bundle, path: Path, **changes: str) -> Bundle:
    """A copy with another manifest."""
    shutil.copytree(bundle.path, path)
    manifest = bundle.manifest.model_copy(update=changes)
    (path / "manifest.json").write_text(manifest.model_dump_json())
    return Bundle(path, manifest)


def lively_model() -> bytes:
    """As `test_emit.ternary_model`, scaled so that random inputs give different outputs."""
    rng = np.random.default_rng(1)
    builder = ModelBuilder((8, 8, 3), 1 / 255, -128)
    weights = (rng.integers(-1, 2, (16, 3, 3, 3)) * 127).astype(np.int8)
    tensor = builder.conv(builder.input, weights, [0.01] * 16, None, (0.05, -128), activation="RELU")
    depthwise = (rng.integers(-1, 2, (3, 3, 16)) * 127).astype(np.int8)
    branch = builder.depthwise(tensor, depthwise, [0.01] * 16, None, (0.05, -128), activation="RELU6")
    tensor = builder.add(tensor, branch, (0.1, -128))
    tensor = builder.pad(tensor, [(1, 1), (0, 1), (0, 0)])
    tensor = builder.pool(tensor, "MAX", (2, 2), (2, 2), same=False, activation="NONE")
    tensor = builder.pool(tensor, "AVERAGE", (2, 2), (1, 1), same=True, activation="NONE")
    tensor = builder.conv(tensor, rng.integers(-127, 128, (8, 1, 1, 16), dtype=np.int8), [0.01] * 8, None, (0.4, 3))
    tensor = builder.quantize(tensor, (0.5, 0))
    tensor = builder.mean(tensor, (0.2, 2), keep_dims=False)
    tensor = builder.dense(tensor, rng.integers(-127, 128, (5, 8), dtype=np.int8), [0.002], None, (0.05, 0))
    return builder.build(builder.softmax(tensor))
