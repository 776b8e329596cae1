"""Devices answer inside the bounds: random inputs of balls, on an emulated board and on a bare core."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests import emulated
from tests.support.every_format import in_every_format
from tests.support.known_models import other_ops_model, ternary_model
from tests.support.tiny_nets import outside, random_of
from tritguard.attack import Ball
from tritguard.build import Build
from tritguard.certify.box import Region
from tritguard.certify.intervals import Bounds, propagate
from tritguard.certify.refinement import Effort, refine
from tritguard.certify.rules import stages_of
from tritguard.device import open_device
from tritguard.emit import Bundle, write_bundle
from tritguard.predictor import Int8

pytest_plugins = ("tests.support.device_fixtures",)

BALLS = (Ball("Linf", 1), Ball("Linf", 12, -90), Ball("L2", 5))


def drawn(bundle: Bundle, seed: int) -> list[tuple[Bounds, Int8]]:
    """Balls around random inputs, with what both levels say of each: bounds, and inputs of the ball, int8[n, ...]."""
    graph, rng = bundle.golden, np.random.default_rng(seed)
    ops, found = stages_of(graph), []
    for ball in BALLS:
        clean = np.maximum(rng.integers(-128, 128, (1, *bundle.manifest.input_shape)), ball.low).astype(np.int8)
        region = Region.of(ball, clean)
        x = np.concatenate([each for _ in range(3) for each in random_of(ball, clean, rng)])
        found.append((propagate(ops, graph.input, region.box), x))
        found.append((refine(ops, graph.input, region, Effort(work=1e8)).bounds, x))
    return found


def left(bundle: Bundle, bounds: Bounds, scores: Int8, logits: NDArray[np.int32] | None) -> list[str]:
    """What answers to inputs of one ball leave: the bounds of the scores or of the sums."""
    graph = bundle.golden
    box, position, found = bounds.boxes[graph.output], graph.logits_position(), []
    if any(outside(box.low[0], box.high[0], one) for one in scores):
        found.append("scores")
    if logits is not None and position is not None:
        sums = bounds.sums[graph.ops[position].output].shaped((-1,))
        if not ((sums.low <= logits) & (logits <= sums.high)).all():
            found.append("logits")
    return found


def test_a_board_answers_inside_the_bounds(small_bundle: Bundle, small_build: Build) -> None:
    cases = drawn(small_bundle, 0)
    with open_device(small_bundle, small_build) as device:
        for bounds, x in cases:
            answers, layer = device.predict(x), small_bundle.manifest.logits
            assert answers.logits is not None and layer is not None
            sums = np.rint(answers.logits / np.array(layer.scale)).astype(np.int32)
            assert left(small_bundle, bounds, answers.scores, sums) == []


@pytest.mark.slow
def test_a_bare_core_answers_inside_the_bounds_in_every_format(tmp_path: Path) -> None:
    """All ternary formats that a Cortex-M4 has, and an op of every kernel."""
    core = emulated.M4
    bundles = in_every_format(ternary_model(), core.core_class, tmp_path / "formats")
    bundles.append(write_bundle(other_ops_model(), tmp_path / "ops", name="ops", core=core.core_class))
    balls = [(bundle, bounds, x) for seed, bundle in enumerate(bundles) for bounds, x in drawn(bundle, seed)]
    cases = [emulated.Case(bundle, x) for bundle, _, x in balls]
    (folder := tmp_path / "run").mkdir()
    for (bundle, bounds, _), (scores, logits) in zip(balls, emulated.run(core, cases, folder), strict=True):
        has_logits = bundle.manifest.logits is not None
        assert left(bundle, bounds, scores, logits if has_logits else None) == []
