"""The kernels of every core class in emulation against the oracle: no byte may differ."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests import emulated
from tests.support.differences import differences_on_core
from tests.support.known_models import large_windows_model, long_dense_model, other_ops_model, ternary_model
from tests.support.random_graphs import models
from tritguard.oracle import oracle_available
from tritguard.resources import firmware_dir

pytestmark = pytest.mark.skipif(not oracle_available(), reason="the tflite-micro oracle has no wheel for this platform")

GRAPHS_A_BOOT = 12


@pytest.mark.slow
@pytest.mark.parametrize("core", emulated.EVERY, ids=lambda core: core.core)
@settings(
    max_examples=2, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
@given(
    contents=st.lists(models(several=True), min_size=GRAPHS_A_BOOT, max_size=GRAPHS_A_BOOT), seed=st.integers(0, 2**31)
)
def test_random_graphs_give_the_oracles_bytes(core: emulated.Core, contents: list[bytes], seed: int) -> None:
    assert differences_on_core(core, contents, seed) == []


@pytest.mark.parametrize("core", emulated.EVERY, ids=lambda core: core.core)
def test_a_net_of_every_other_op_gives_the_oracles_bytes(core: emulated.Core) -> None:
    known = [other_ops_model(), ternary_model(), long_dense_model(), large_windows_model()]
    assert differences_on_core(core, known, seed=4) == []


EDGES = """
#include "tg_fixed.h"
#include <stdio.h>
int main(void)
{
    uint32_t state = 1;
    for (int32_t i = 0; i < 4000000; i++) {
        state = (state * 1664525u) + 1013904223u;
        const int32_t right = (int32_t)((state >> 8) % 22u) + 1;
        const int32_t multiplier = (i % 7 == 0) ? (1 << 30) : (int32_t)((state >> 2) | (1u << 30));
        /* around ties of the second rounding, around zero, and where 2 * acc just fits */
        const int32_t bases[4] = {(int32_t)((state >> 11) % 5u << right), 0, (1 << 30) - 9, (int32_t)(state >> 2)};
        const int32_t size = bases[i % 4] + (int32_t)((state >> 5) % 9u);
        const int32_t acc = ((state >> 30) & 1u) != 0u ? -size : size;
        const int32_t zero_point = (int32_t)((state >> 13) & 255u) - 128;
        const int32_t exact = tg_multiply(acc, multiplier, -right) + zero_point;
        const int32_t clamped = tg_max(tg_multiply(acc, multiplier, 0) + zero_point, zero_point);
        if (tg_scale_narrow(acc, multiplier, right, tg_scale_offset(zero_point, right)) != exact ||
            tg_max(tg_scale_narrow(acc, multiplier, 0, tg_scale_offset(zero_point, 0)), zero_point) != clamped) {
            printf("%d * %d >> %d\\n", (int)acc, (int)multiplier, (int)right);
            return 1;
        }
    }
    return 0;
}
"""


def test_narrow_rescaling_is_exact_up_to_its_bounds(tmp_path: Path) -> None:
    """At ties, at the largest sums, and without a shift where the clamp hides the rest."""
    (tmp_path / "edges.c").write_text(EDGES)
    command = ["gcc", "-O2", "-Wall", f"-I{firmware_dir() / 'kernels'}", "edges.c", "-o", "edges"]
    subprocess.run(command, cwd=tmp_path, check=True)
    subprocess.run([tmp_path / "edges"], check=True)
