"""The kernels of every core class in emulation against the oracle: no byte may differ."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import emulated
from tests.random_graphs import models, sample_inputs
from tests.test_emit import other_ops_model, ternary_model
from tritguard.boards import CoreClass, core_class
from tritguard.emit import write_bundle
from tritguard.oracle import Oracle, oracle_available
from tritguard.twin import Twin

pytestmark = pytest.mark.skipif(not oracle_available(), reason="the tflite-micro oracle has no wheel for this platform")

GRAPHS_A_BOOT = 12
CORES = [emulated.M0PLUS, emulated.M3, emulated.M4, emulated.M7]


def class_of(core: emulated.Core) -> CoreClass:
    known = core_class(core.cpu)
    assert known is not None
    return known


def differences(core: emulated.Core, contents: list[bytes], seed: int) -> list[str]:
    """What the core computes, scores and logits, where it is not what the oracle and the twin do."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = []
        for i, content in enumerate(contents):
            bundle = write_bundle(content, folder / f"bundle_{i}", name="random", core=class_of(core))
            cases.append(emulated.Case(bundle, sample_inputs(bundle.manifest.input.shape, seed + i)))
        found = []
        for i, (case, (scores, logits)) in enumerate(zip(cases, emulated.run(core, cases, folder), strict=True)):
            expected = Oracle(contents[i]).predict(case.x).scores.reshape(scores.shape)
            ops = [layer.op for layer in case.bundle.manifest.layers]
            if not np.array_equal(scores, expected):
                found.append(f"{(scores != expected).sum()} of {scores.size} bytes; {ops}")
            if case.bundle.manifest.logits is not None:
                accumulators = Twin(case.bundle, threads=1).run(case.x)[1]
                assert accumulators is not None
                if not np.array_equal(logits, accumulators.reshape(logits.shape)):
                    found.append(f"logits; {ops}")
        return found


@pytest.mark.parametrize("core", CORES, ids=lambda core: core.cpu)
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(contents=st.lists(models(), min_size=GRAPHS_A_BOOT, max_size=GRAPHS_A_BOOT), seed=st.integers(0, 2**31))
def test_random_graphs_give_the_oracles_bytes(core: emulated.Core, contents: list[bytes], seed: int) -> None:
    assert differences(core, contents, seed) == []


@pytest.mark.parametrize("core", CORES, ids=lambda core: core.cpu)
def test_a_net_of_every_other_op_gives_the_oracles_bytes(core: emulated.Core) -> None:
    assert differences(core, [other_ops_model(), ternary_model()], seed=4) == []
