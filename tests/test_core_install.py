"""A core installation, without TensorFlow and ART: what it does, and what it says it could not do."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.core_install import core_install
from tests.support.device_support import inputs
from tests.support.robustness_result import make_result
from tritguard.attack import packages
from tritguard.build import Build
from tritguard.data import Dataset, write_dataset
from tritguard.emit import Bundle
from tritguard.errors import ToolMissingError
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.result import read_result
from tritguard.twin import Twin

pytest_plugins = ["tests.support.device_fixtures"]


def test_attack_without_tensorflow_ends_and_says_what_it_could_not_do(
    small_bundle: Bundle, small_build: Build, tmp_path: Path
) -> None:
    x = inputs(small_bundle, 10)
    data = Dataset("noise", x, Twin(small_bundle).predict(x).labels, tuple("abcde"), "steps", "none")
    write_dataset(tmp_path / "data.npz", data)
    python = core_install(tmp_path / "core")

    def attack(*options: str) -> subprocess.CompletedProcess[str]:
        command = [python, "-m", "tritguard", "attack", small_bundle.path, small_build.path, "--trust"]
        command += ["--data", tmp_path / "data.npz", "--out", tmp_path / "out", "-n", "10", "--eps", "1"]
        return subprocess.run([*command, *options], capture_output=True, text=True, check=False, cwd=tmp_path)

    refused = attack("--attacks", "square,pgd")
    assert refused.returncode == 3 and not (tmp_path / "out" / "campaign.db").exists()
    assert "attack pgd: needs TensorFlow, which is not installed; pip install 'tritguard[attack]'" in refused.stderr
    done = attack("--preset", "quick")
    assert done.returncode in {0, 1}, done.stderr  # 1: nothing can be said of a net of random weights
    lines = done.stdout.splitlines()
    assert lines[0] == "without fgsm, pgd, apgd-ce: TensorFlow is not installed; pip install 'tritguard[attack]'"
    result = read_result(tmp_path / "out" / "result.json")
    assert {row.attack for row in result.attacks} == {"Noise", "Square", "HopSkipJump"}
    assert set(result.budgets) == {"noise", "square", "hopskipjump"}
    assert result.left_out == dict.fromkeys(("fgsm", "pgd", "apgd-ce"), "TensorFlow")
    assert result.symptoms is not None and result.symptoms.zero_gradients is None
    found = {issue.code: issue.message for issue in result.issues}
    assert "NO_GRADIENTS" in found
    assert "fgsm, pgd, apgd-ce of the preset, as TensorFlow is not installed" in found["LITTLE_EVIDENCE"]
    assert {"ZERO_GRADIENTS", "SATURATED_LOGITS"} <= {one.code for one in result.unmade}
    assert result.confirmation.mismatched_inputs == 0 and result.threat_model.knowledge.startswith("no gradients")


def test_without_art_alone_its_attacks_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_found", lambda module: module != "art")
    plan = Plan(preset="quick")
    assert list(plan.left_out) == ["fgsm", "pgd"] and "fgsm" not in plan.budgets_for(10)
    iterated = plan.iterated()
    assert iterated is not None and iterated.name == "APGD-CE"
    plan.check_installed()
    with pytest.raises(ToolMissingError, match="attack fgsm: needs the Adversarial Robustness Toolbox, which is not"):
        Plan(attacks=("apgd-ce", "fgsm")).check_installed()


def test_gradients_that_were_taken_are_measured() -> None:
    result = make_result()
    assert result.symptoms is not None
    symptoms = result.symptoms.model_dump() | {"zero_gradients": None}
    with pytest.raises(ValueError, match="zero_gradients: was not measured, but attacks took gradients"):
        type(result).model_validate(result.model_dump() | {"symptoms": symptoms})
