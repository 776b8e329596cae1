"""--json, --quiet and the shell's completion, of every verb."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.support.robustness_result import make_result
from tests.support.shared import ROOT
from tritguard.cli import app
from tritguard.cli.lazy import ENDLESS, VERBS
from tritguard.data import Dataset, write_dataset


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    x, y = np.zeros((3, 4, 4), np.uint8), np.array([0, 1, 1])
    write_dataset(tmp_path / "data.npz", Dataset("three", x, y, ("a", "b"), "pixel/255", "none"))
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(make_result().model_dump_json())
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMMANDS = {
    "boards": [],
    "doctor": [],
    "schema": [],
    "init": [],
    "data": ["data.npz"],
    "report": ["first"],
    "compare": ["first", "second"],
}


@pytest.mark.parametrize("verb", COMMANDS)
def test_json_is_one_object_on_stdout_and_words_go_elsewhere(verb: str, folder: Path) -> None:
    outcomes = []
    for options in ([], ["--json"], ["-q"], []):
        outcomes.append(CliRunner().invoke(app, [verb, *COMMANDS[verb], *options]))
        (folder / "tritguard.toml").unlink(missing_ok=True)  # which init does not write over
    spoken, told, silent, again = outcomes
    assert {one.exit_code for one in outcomes} == {spoken.exit_code}
    assert isinstance(json.loads(told.stdout), dict)
    assert len(told.stderr) > 20 and (silent.stdout, silent.stderr) == ("", "")
    assert len(spoken.stdout) > 20 and again.stdout == spoken.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_that_ends_has_something_to_tell(verb: str) -> None:
    code = (ROOT / "host" / "tritguard" / "cli" / f"{verb}.py").read_text()
    tells = re.search(r"^ +(tell|show)\(", code, re.MULTILINE) is not None
    assert tells == (verb not in ENDLESS)
    shown = CliRunner().invoke(app, [verb, "--help"]).stdout
    assert ("--json" in shown) == (verb not in ENDLESS) and "--quiet" in shown


@pytest.mark.parametrize(("line", "offered"), [("tritguard att", "attack"), ("tritguard attack --pre", "--preset")])
def test_the_shell_completes_verbs_and_options(line: str, offered: str) -> None:
    words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_TRITGUARD_COMPLETE": "complete_bash"}
    run = "import sys; sys.argv = ['tritguard']; from tritguard.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", run], env={**os.environ, **words}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [offered]
