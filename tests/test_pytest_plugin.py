"""The fixture that a user's own suite has, in a pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.support.tiny_nets import scores_of, tiny_net
from tritguard.api import read_study
from tritguard.data import Dataset, write_dataset
from tritguard.evaluate.robustness.result import RobustnessResult
from tritguard.graph import read_graph

SUITE = """
import pytest

@pytest.fixture(scope="module")
def curve(tritguard_robust_accuracy):
    result = tritguard_robust_accuracy(
        "net.tflite", "data.npz", eps=(1, 90), samples=20, attacks=("noise", "square"), out="kept"
    )
    return {point.eps_steps: point.robust for point in result.curve}

def test_it_holds_at_one_step(curve):
    assert curve[1].high > 0.5

def test_it_holds_at_ninety(curve):
    assert curve[90].low > 0.9
"""


def test_a_suite_of_anybodys_measures_a_model_on_its_board(tmp_path: Path) -> None:
    """Black boxes alone, which need no TensorFlow; the net's own answers are the labels."""
    content = tiny_net(1)
    (tmp_path / "net.tflite").write_bytes(content)
    graph = read_graph(content)
    x = np.random.default_rng(0).integers(-128, 128, (60, 3), dtype=np.int8)
    y = scores_of(graph, x).argmax(axis=1)
    names = tuple(f"class {number}" for number in range(4))
    write_dataset(tmp_path / "data.npz", Dataset("three numbers", x, y, names, "steps", "none"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tritguard.pytest_plugin", "-p", "no:cacheprovider"]
    (tmp_path / "test_net.py").write_text(SUITE)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    result = read_study(tmp_path / "kept" / "result.json")
    assert (
        isinstance(result, RobustnessResult) and result.firmware.emulated and not result.confirmation.mismatched_inputs
    )


def test_it_costs_suites_that_do_not_ask_nothing() -> None:
    code = "import sys, tritguard.pytest_plugin; print(*(name for name in sys.modules if name.startswith('tritguard')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"tritguard", "tritguard.pytest_plugin"}
