"""Layers of every kind that has kernels of its own, on the twin and in emulation on every core, against the oracle."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests import emulated
from tests.support.differences import differences, differences_on_core
from tests.support.kinds import KINDS, models_of_kind
from tritguard.boards import CoreClass
from tritguard.graph.formats import int8_depthwise
from tritguard.oracle import oracle_available

pytestmark = pytest.mark.skipif(not oracle_available(), reason="the tflite-micro oracle has no wheel for this platform")

DEPTHWISE = ("depthwise", "line", "few outputs", "dilated")
ONE_OF_EACH = st.tuples(*(models_of_kind(kind) for kind in KINDS), *(models_of_kind(kind) for kind in KINDS))


@pytest.mark.slow
@pytest.mark.parametrize("core", emulated.EVERY, ids=lambda core: core.core)
@settings(
    max_examples=1, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
@given(contents=ONE_OF_EACH, seed=st.integers(0, 2**31))
def test_every_kind_gives_the_oracles_bytes_on_a_core(
    core: emulated.Core, contents: tuple[bytes, ...], seed: int
) -> None:
    assert differences_on_core(core, list(contents), seed) == []


@pytest.mark.parametrize("core", (emulated.M0PLUS, emulated.M3, emulated.M4), ids=lambda core: core.core)
@settings(
    max_examples=1, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
@given(contents=st.tuples(*(models_of_kind(kind) for kind in DEPTHWISE * 2)), seed=st.integers(0, 2**31))
def test_depthwise_layers_over_planes_give_the_oracles_bytes_on_a_core(
    core: emulated.Core, contents: tuple[bytes, ...], seed: int
) -> None:
    """Whatever the cost model would choose for layers as small as these, on the classes that have a choice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8_depthwise, "depthwise_channels", lambda site, op, others: [])
        assert differences_on_core(core, list(contents), seed) == []


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), core=st.sampled_from(["m4", "m55", "m3", "m0"]), seed=st.integers(0, 2**31))
def test_every_kind_gives_the_oracles_bytes_on_the_twin(
    kind: str, data: st.DataObject, core: CoreClass, seed: int
) -> None:
    assert differences(data.draw(models_of_kind(kind)), seed, core) is None
