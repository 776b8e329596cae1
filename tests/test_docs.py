"""What the documents show must be what the code takes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tests.support import float_net, ops_table
from tests.support.device_support import inputs
from tests.support.known_models import ternary_model
from tests.support.shared import ROOT
from tritguard import api as tg
from tritguard.api.road import RunConfig
from tritguard.attack import Ball, Square, Target
from tritguard.attack.catalog import ATTACKS, Entry
from tritguard.attack.norms import NORMS
from tritguard.attack.square import MOVES
from tritguard.boards import Board
from tritguard.build import Budget, Build
from tritguard.campaign.runs import craft_all
from tritguard.campaign.store import Store
from tritguard.cli import VERBS
from tritguard.data import Dataset, write_dataset
from tritguard.emit import Bundle, write_bundle
from tritguard.errors import BadInputError
from tritguard.evaluate.data_checks import CHECKS as DATA_CHECKS
from tritguard.evaluate.kind import StudyKind
from tritguard.evaluate.registry import STUDIES
from tritguard.evaluate.robustness.checks import CHECKS
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.result import ThreatModel
from tritguard.graph import SUPPORTED_OPS
from tritguard.graph.reading.checks import FUSED_ACTIVATIONS
from tritguard.report.wording import norm_meaning
from tritguard.train import TrainConfig
from tritguard.twin import Twin

pytest_plugins = ["tests.support.device_fixtures"]

CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()


def test_the_documented_settings_are_the_real_ones_and_their_defaults() -> None:
    run, train = (tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", CONFIGURATION, re.DOTALL))
    assert Plan.model_validate(run["attack"]) == Plan(sanity_eps=64)
    assert set(run["attack"]) == set(Plan.model_fields)
    assert set(run["build"]) == set(Budget.model_fields) and Budget.model_validate(run["build"])
    assert set(run) | set(train) == set(RunConfig.model_fields)
    assert TrainConfig.model_validate(train["train"]) == TrainConfig()
    assert set(train["train"]) == set(TrainConfig.model_fields)


@pytest.mark.parametrize("kind", [kind for kind in STUDIES if not kind.leads], ids=lambda kind: kind.name)
def test_the_documented_settings_of_studies_are_the_defaults(kind: StudyKind[Any, Any]) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / f"{kind.name}.md").read_text(), re.DOTALL)
    table = tomllib.loads(block)[kind.table]
    assert set(table) == set(kind.plan.model_fields)
    assert kind.plan.model_validate(table) == kind.plan()


def test_every_check_of_an_evaluation_is_documented() -> None:
    documented = re.findall(r"^\| `(\w+)` \| (\w+) \|", (ROOT / "docs" / "results.md").read_text(), re.MULTILINE)
    assert dict(documented) == {one.code: one.severity for one in CHECKS}
    readme = " ".join((ROOT / "README.md").read_text().split())
    said = f"{len(CHECKS)} of the attack, each with a code, and those of {len(DATA_CHECKS)} [of the data]"
    assert said in readme


def test_every_key_of_a_board_is_documented() -> None:
    table = CONFIGURATION[CONFIGURATION.index("## A board") :]
    for key in Board.model_fields:
        assert f"`{key}" in table, key


@pytest.mark.parametrize("path", [*sorted(ROOT.glob("docs/*.md")), ROOT / "README.md"], ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_the_readme_names_every_verb() -> None:
    readme = (ROOT / "README.md").read_text()
    for verb in VERBS:
        assert f"tritguard {verb}" in readme, verb


def test_the_readme_leads_to_the_columns_of_an_energy_log(tmp_path: Path) -> None:
    assert "log of its current ([its columns](docs/deployment.md#energy))" in (ROOT / "README.md").read_text()
    energy = (ROOT / "docs" / "deployment.md").read_text().split("## Energy")[1]
    time, current = re.findall(r"`(\w+\(\w+\))`", next(row for row in energy.splitlines() if "Power Profiler" in row))
    rows = (f"{k / 10},{900 + 4000 * (k // 100 % 2)},{k // 100 % 2}" for k in range(1100))  # the last mark ends in it
    (tmp_path / "log.csv").write_text("\n".join([f"{time},{current},D0", *rows]))
    assert tg.energy(tmp_path / "log.csv", marks="D0", volts=3.3).inferences == 5


def test_the_op_that_is_shown_is_the_real_one() -> None:
    blocks = re.findall(r"```(?:python|c)\n(.*?)```", (ROOT / "docs" / "adding-an-op.md").read_text(), re.DOTALL)
    folders = ("host/tritguard/graph", "host/tritguard/emit", "host/tritguard/attack", "firmware/kernels", "tests")
    files = [
        path for folder in folders for path in (ROOT / folder).rglob("*.[pch]*") if path.suffix in {".py", ".c", ".h"}
    ]
    code = [path.read_text() for path in files]
    assert len(blocks) == 8
    for block in blocks:
        assert any(block.rstrip() in text for text in code), block


@pytest.mark.slow
def test_the_attack_that_is_shown_works_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file and the line of docs/adding-an-attack.md, and nothing else, make an attack that a plan can name."""
    text = (ROOT / "docs" / "adding-an-attack.md").read_text()
    file, line = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(file.splitlines()) + len(line.splitlines()) < 60
    shown: dict[str, object] = {"__name__": "tritguard.attack.salt"}
    exec(compile(file, "salt.py", "exec"), shown)
    name, entry = next(iter(eval("{" + line + "}", {**shown, "Entry": Entry}).items()))
    monkeypatch.setitem(ATTACKS, name, entry)
    bundle = write_bundle(ternary_model(), tmp_path / "bundle", name="ops")
    x = np.random.default_rng(0).integers(-128, 128, (40, 8, 8, 3), dtype=np.int8)
    target = Target(Twin(bundle), None, x, Twin(bundle).predict(x).labels, seed=1)
    plan = tomllib.loads(next(iter(re.findall(r"```toml\n(.*?)```", text, re.DOTALL))))["attack"]
    noise, salt, _ = Plan.model_validate(plan).suite(classes=10)
    for ball in (Ball("Linf", 40), Ball("L2", 300)):
        found, again, weak = salt.craft(target, ball), salt.craft(target, ball), noise.craft(target, ball)
        assert (ball.distances(found.x, x) <= ball.eps).all()
        assert np.array_equal(found.x, again.x) and found.queries == again.queries <= 500 * len(x)
        left, by_noise = ((target.predictor.predict(one.x).labels == target.y).mean() for one in (found, weak))
        assert left <= by_noise and left < 1


def test_the_study_that_is_shown_works_as_it_is(small_bundle: Bundle, small_build: Build, tmp_path: Path) -> None:
    """The two files and the line of docs/adding-a-study.md, put into a copy of the package, make a study."""
    text = (ROOT / "docs" / "adding-a-study.md").read_text()
    room, report = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (line,) = re.findall(r"```\n( {4}\w+,\n)```", text)
    table = next(iter(re.findall(r"```toml\n(.*?)```", text, re.DOTALL)))
    package = tmp_path / "host" / "tritguard"
    shutil.copytree(ROOT / "host" / "tritguard", package)  # with what Python compiled
    for name in ("firmware", "boards"):
        (tmp_path / name).symlink_to(ROOT / name)
    (package / "evaluate" / "brightness.py").write_text(room)
    (package / "report" / "brightness.py").write_text(report)
    registry = package / "evaluate" / "registry.py"
    lines = registry.read_text().replace("    PRIVACY,\n", f"    PRIVACY,\n{line}")
    added = "from tritguard.evaluate.brightness import BRIGHTNESS\n"
    registry.write_text(lines.replace("from tritguard.evaluate.faults", f"{added}from tritguard.evaluate.faults", 1))

    x = inputs(small_bundle, 120)
    labels = Twin(small_bundle).predict(x).labels
    write_dataset(tmp_path / "data.npz", Dataset("noise", x, labels, tuple("abcde"), "steps", "none"))
    (tmp_path / "run.toml").write_text(f'name = "small"\nmodel = "small.tflite"\ndata = "data.npz"\n{table}')
    (tmp_path / "carry_out.py").write_text(CARRY_OUT)
    command = [sys.executable, "carry_out.py", str(small_bundle.path), str(small_build.path)]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "host")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "brightness.json").read_text())
    assert (result["status"], result["confirmation"]["inputs"]) == ("valid", 40)
    accuracy = {point["shift"]: point["accuracy"]["k"] for point in result["points"]}
    assert set(accuracy) == {-48, 0, 48} and accuracy[0] == 100 > max(accuracy[-48], accuracy[48])

    command = [sys.executable, "-m", "tritguard", "report", "brightness.json"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Brightness: small" in done.stdout and "100.0 %" in done.stdout
    page = (tmp_path / "brightness.html").read_text()
    assert "<polyline" in page and "0 of 40 inputs gave other bytes" in page


CARRY_OUT = """
import sys
from pathlib import Path

from tritguard.api.road import read_run_config
from tritguard.api.studies.outcome import carry_out
from tritguard.boards import load_board
from tritguard.build import open_build
from tritguard.data import load_dataset
from tritguard.emit import open_bundle
from tritguard.evaluate.kind import RunContext
from tritguard.progress import silent

settings = read_run_config("run.toml")
bundle, build = open_bundle(Path(sys.argv[1])), open_build(Path(sys.argv[2]))
context = RunContext("small", load_board(settings.board), bundle, build, load_dataset("data.npz"), Path())
kind, plan = settings.studies[-1]
carry_out(kind, Path(), lambda stages: kind.run(plan, context, stages), silent)
"""


def test_the_norm_that_is_shown_works_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file and the line of docs/adding-a-norm.md, and nothing else, make a norm that all of tritguard knows."""
    pytest.importorskip("art", reason="white-box attacks need the extra 'attack'")
    text = (ROOT / "docs" / "adding-a-norm.md").read_text()
    file, line = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(line.splitlines()) == 1
    shown: dict[str, object] = {"__name__": "tritguard.attack.norms.l1"}
    exec(compile(file, "l1.py", "exec"), shown)
    table = tomllib.loads(next(iter(re.findall(r"```toml\n(.*?)```", text, re.DOTALL))))["attack"]
    with pytest.raises(ValidationError, match="no norm 'L1': Linf, L2"):
        Plan.model_validate(table)
    name, norm = next(iter(eval("{" + line + "}", shown).items()))
    monkeypatch.setitem(NORMS, name, norm)
    target, plan = float_net.white_box(12), Plan.model_validate(table)
    x = target.x
    assert {x.min(), x.max()} == {-128, 127}  # where moves have to turn around
    left = {}
    for attack in plan.suite(classes=10):
        runs, _ = craft_all(target, plan.balls, [attack], Store(tmp_path / "campaign.db", ""), lambda *_: None)
        for run, ball in zip(runs, plan.balls, strict=True):
            moved = np.abs(run.x.astype(int) - x).reshape(len(x), -1).sum(axis=1)
            assert run.x.dtype == np.int8 and (moved <= ball.eps).all()
            assert np.array_equal(moved, ball.distances(run.x, x))
            if attack.name == "Noise" and ball.eps < plan.sanity:
                assert (moved >= 0.95 * ball.eps).all()  # what rounding loses is spent
            left[attack.name, ball.eps] = float((target.predictor.predict(run.x).labels == target.y).mean())
    assert left["PGD", 4000] < left["Noise", 4000] - 0.2
    assert left["PGD", plan.sanity] < 0.2
    threat = ThreatModel.model_validate_json(
        json.dumps({"norm": name, "eps_steps": plan.eps, "eps_input": [1, 4], "input_unit": "", "knowledge": ""})
    )
    assert norm_meaning(threat.norm) == norm.meaning


def test_attacks_that_need_a_table_of_norms_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preset leaves them out of a ball that their table does not have; a plan or a call that names one is refused."""
    monkeypatch.setitem(NORMS, "L7", NORMS["L2"])
    names = {name for name, entry in ATTACKS.items() if not entry.knows("L7")}
    assert {"cw", "patch", "square"} <= names
    assert not names & {"noise", "pgd", "apgd-ce", "hopskipjump"}
    assert not names & set(Plan(norm="L7", sanity_eps=10, preset="full").budgets_for(10))
    for name in names:
        with pytest.raises(ValidationError, match=f"{name} knows no L7 ball"):
            Plan(norm="L7", sanity_eps=10, attacks=(name,))
    with pytest.raises(BadInputError, match=f"Square works in {', '.join(MOVES)} balls, not in L7 ones"):
        Square(3).craft(float_net.target(1), Ball("L7", 3))


def test_the_documented_ops_are_the_supported_ones() -> None:
    text = ops_table.PAGE.read_text()
    assert ops_table.documented(text) == ops_table.table(), "run python -m tests.support.ops_table"
    fused = re.search(r"\*\*Fused activations.\*\* (.*) are the clamp", text)
    assert fused is not None
    assert re.split(", | and ", fused[1]) == list(FUSED_ACTIVATIONS.values())
    refused = set(re.findall(r"[A-Z][A-Z0-9_]{2,}", text[text.index("that are refused today:") :].split(":", 1)[1]))
    assert refused and not refused & set(SUPPORTED_OPS)
