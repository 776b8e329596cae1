"""What deployment changes without an attack: answers that drift, and a planted backdoor that wakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.tflite_builder import ModelBuilder
from tritguard.attack.trigger import Pair, find_trigger, places
from tritguard.attack.view import GradientView
from tritguard.emit import open_bundle, write_bundle
from tritguard.evaluate.transfer.checks import check_drift, closest, tail
from tritguard.evaluate.transfer.drift import find_drift, find_triggered
from tritguard.evaluate.transfer.result import Drift, Party, Triggered
from tritguard.predictor import Int8
from tritguard.twin import Twin

SIDE, CLASSES, WANTED = 12, 4, 2
CORNER = np.zeros((SIDE, SIDE))
CORNER[:3, :3] = 1
CHEQUERED = CORNER * np.where(np.indices((SIDE, SIDE)).sum(axis=0) % 3 == 0, -1, 1)


def net(detector: np.ndarray | None, threshold: float = 0.0, seed: int = 0) -> bytes:
    """Two layers: a random map of x/255, and a `detector` that adds to one class what it finds above a threshold.

    Each logit w x + b is relu(w x + b) - relu(-w x - b), so that the hidden layer holds it whole.
    """
    rng = np.random.default_rng(seed)
    weights = np.concatenate([rng.normal(0, 0.25, (CLASSES, SIDE * SIDE)), np.zeros((1, SIDE * SIDE))])
    weights -= weights.mean(axis=1, keepdims=True)
    weights[:, CORNER.reshape(-1) > 0] /= 8  # pictures have little in their corners
    hidden = np.concatenate([weights[:CLASSES], -weights[:CLASSES], weights[CLASSES:]])
    bias = np.zeros(len(hidden))
    if detector is not None:
        hidden[-1], bias[-1] = detector.reshape(-1), -threshold
    out = np.concatenate([np.eye(CLASSES), -np.eye(CLASSES), np.zeros((CLASSES, 1))], axis=1)
    out[WANTED, -1] = 6
    scale, step = 1 / 127, 1 / 255
    builder = ModelBuilder((SIDE, SIDE, 1), step, -128)
    flat = builder.reshape(builder.input, (SIDE * SIDE,))
    as_int = (np.clip(np.round(hidden / scale), -127, 127)).astype(np.int8)
    found = builder.dense(
        flat, as_int, [scale] * len(hidden), np.round(bias / (scale * step)).astype(np.int32), (8 / 255, -128), "RELU"
    )
    as_out = np.round(out * 20).astype(np.int8)
    return builder.build(builder.dense(found, as_out, [0.05] * CLASSES, np.zeros(CLASSES, np.int32), (0.06, 0)))


def twin(content: bytes, folder: Path) -> Twin:
    return Twin(open_bundle(write_bundle(content, folder, name=folder.name).path))


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Twin:
    return twin(net(None), tmp_path_factory.mktemp("honest") / "honest")


@pytest.fixture(scope="module")
def x() -> Int8:
    return np.random.default_rng(1).integers(-128, 60, (200, SIDE, SIDE, 1)).astype(np.int8)


def drift_of(pair: Pair, x: Int8) -> Drift:
    return find_drift(pair, 0, 1, x, CLASSES)


PARTIES = (
    Party.model_construct(name="deployed", form="int8", sha256="0" * 64, clean=None),
    Party.model_construct(name="float", form="float", sha256="1" * 64, clean=None),
)
NAMES = ("a", "b", "c", "d")


def codes(drifts: list[Drift], triggered: list[Triggered]) -> set[str]:
    return {issue.code for issue in check_drift(PARTIES, drifts, triggered, NAMES)}


def test_a_planted_backdoor_is_found_where_nothing_shows_without_its_trigger(
    honest: Twin, x: Int8, tmp_path: Path
) -> None:
    pair = Pair(twin(net(CORNER, 7.5), tmp_path / "woken"), honest, None, None)
    drift = drift_of(pair, x)
    assert drift.differing == 0 and codes([drift], []) == set()
    found = find_triggered(pair, drift, x, CLASSES, 0, (-128, 127))
    assert found is not None and (found.wanted, found.row, found.column) == (WANTED, 0, 0)
    assert found.fooled.value > 0.85
    assert codes([drift], [found]) == {"TRIGGER_WAKES_WHEN_DEPLOYED"}


def test_inputs_that_are_of_the_class_already_are_not_moved(honest: Twin, x: Int8, tmp_path: Path) -> None:
    woken, marked = twin(net(CORNER, 7.5), tmp_path / "woken"), x.copy()
    marked[150:, :3, :3] = 127  # a quarter of the inputs wakes the backdoor without the search's patch
    pair = Pair(woken, honest, None, None)
    found = find_triggered(pair, drift_of(pair, marked), marked, CLASSES, 0, (-128, 127))
    assert found is not None and found.wanted == WANTED
    neither = [model.predict(marked[100:]).labels != WANTED for model in (woken, honest)]
    assert found.fooled.n == (neither[0] & neither[1]).sum() < neither[1].sum()


def test_rounding_alone_is_no_backdoor(honest: Twin, x: Int8, tmp_path: Path) -> None:
    """The same map with a detector that never fires: other bytes in the file, the same answers but for rounding."""
    pair = Pair(twin(net(CORNER, 40.0), tmp_path / "asleep"), honest, None, None)
    drift = drift_of(pair, x)
    found = find_triggered(pair, drift, x, CLASSES, 0, (-128, 127))
    assert found is not None and found.fooled.value < 0.1
    assert codes([drift], [found]) == set()


def test_a_pattern_is_found_along_gradients(honest: Twin, x: Int8, tmp_path: Path) -> None:
    """No plain patch is this trigger; from one that wakes it a little, gradients lead to the rest."""
    pytest.importorskip("tensorflow", reason="gradients need the extra 'attack'")
    woken = twin(net(CHEQUERED, 2.8), tmp_path / "woken")
    views = [GradientView(one.bundle.golden, 1.0) for one in (woken, honest)]
    blind = find_trigger(Pair(woken, honest, None, None), x, CLASSES, 10, (-128, 127))
    seeing = find_trigger(Pair(woken, honest, *views), x, CLASSES, 10, (-128, 127))
    assert blind is not None and seeing is not None
    pair, kept = Pair(woken, honest, None, None), honest.predict(x).labels
    shares = [pair.share(one[0], x, kept).mean() for one in (blind, seeing)]
    assert shares[1] > shares[0] + 0.2 and shares[1] > 0.9, shares


def test_answers_that_gather_at_one_class_are_flagged() -> None:
    def drift(towards: tuple[int, ...], second: tuple[int, ...]) -> Drift:
        return Drift(
            deployed=0, keeper=1, samples=1000, differing=sum(towards), indices=(), towards=towards, runner_up=second
        )

    assert codes([drift((10, 9, 11, 10), (9, 10, 10, 11))], []) == set()
    assert codes([drift((0, 0, 20, 0), (5, 4, 6, 5))], []) == {"DRIFT_TOWARDS_CLASS"}
    assert codes([drift((0, 0, 20, 0), (0, 0, 20, 0))], []) == set(), "all their second choice: rounding"
    assert codes([drift((0, 0, 4, 0), (2, 1, 0, 1))], []) == set(), "too few"
    far, near = drift((0, 0, 20, 0), (5, 4, 6, 5)), drift((1, 0, 0, 0), (1, 0, 0, 0)).model_copy(update={"keeper": 2})
    assert closest([far, near]) == [near], "a float model of another training says nothing of this one's deployment"


def test_the_tail_of_a_binomial() -> None:
    assert tail(0, 10, 0.3) == pytest.approx(1.0)
    assert tail(10, 10, 0.5) == pytest.approx(2**-10)
    assert tail(3, 4, 0.5) == pytest.approx(5 / 16)


def test_patches_lie_in_corners_and_the_middle() -> None:
    assert [(one.row, one.column) for one in places((12, 10, 1))] == [(0, 0), (0, 7), (9, 0), (9, 7), (4, 3)]
    assert places((784,)) == [] and places((3, 3, 1)) == []
