"""What the documents show must be what the code takes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.shared import ROOT
from tritguard.boards import Board
from tritguard.build import Budget
from tritguard.cli import VERBS
from tritguard.cli.run import RunConfig
from tritguard.evaluate.plan import Plan
from tritguard.graph import SUPPORTED_OPS
from tritguard.graph.reading.checks import FUSED_ACTIVATIONS
from tritguard.train import TrainConfig

CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()


def test_the_documented_settings_are_the_real_ones_and_their_defaults() -> None:
    run, train = (tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", CONFIGURATION, re.DOTALL))
    assert Plan.model_validate(run["attack"]) == Plan(sanity_eps=64)
    assert set(run["attack"]) == set(Plan.model_fields)
    assert set(run["build"]) == set(Budget.model_fields) and Budget.model_validate(run["build"])
    assert set(run) | set(train) == set(RunConfig.model_fields)
    assert TrainConfig.model_validate(train["train"]) == TrainConfig()
    assert set(train["train"]) == set(TrainConfig.model_fields)


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


def test_the_documented_ops_are_the_supported_ones() -> None:
    text = (ROOT / "docs" / "ops.md").read_text()
    table = text[text.index("| ops |") : text.index("**Tables.**")]
    rows = [line.split("|")[1] for line in table.splitlines()[2:] if line.startswith("|")]
    assert sorted(re.findall(r"[A-Z0-9_]+", " ".join(rows))) == list(SUPPORTED_OPS)
    fused = re.search(r"\*\*Fused activations.\*\* (.*) are the clamp", text)
    assert fused is not None
    assert re.split(", | and ", fused[1]) == list(FUSED_ACTIVATIONS.values())
    refused = set(re.findall(r"[A-Z][A-Z0-9_]{2,}", text[text.index("that are refused today:") :].split(":", 1)[1]))
    assert refused - {"MEAN"} and not (refused - {"MEAN"}) & set(SUPPORTED_OPS)  # MEAN is refused over other axes
