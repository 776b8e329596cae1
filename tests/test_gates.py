"""Gates of pipelines: exit codes, JUnit XML, GitHub's annotations, and the workflow that the documents show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
import typer
import yaml
from typer.testing import CliRunner

from tests.support.robustness_result import BLIND, EPS, N, control_with, make_result
from tests.support.shared import ROOT
from tritguard import errors
from tritguard.cli import VERBS, app
from tritguard.cli.gates import leave_by_gates
from tritguard.errors import TritguardError
from tritguard.evaluate import data_checks
from tritguard.evaluate.robustness.checks import CHECKS
from tritguard.report.explained import explanations
from tritguard.report.gates import EXIT_CODE, failures, judge
from tritguard.report.github import workflow_commands
from tritguard.report.junit import to_junit

INVALID: dict[str, Any] = {"symptoms": BLIND, "control": control_with(139)}
DEGRADED: dict[str, Any] = {"symptoms": BLIND}
LARGEST = {"threat_model": make_result().threat_model.model_dump() | {"eps_steps": [1], "eps_input": [0.584]}}


def judged(tmp_path: Path, *options: str, **changes: Any) -> Any:
    (tmp_path / "result.json").write_text(make_result(**changes).model_dump_json())
    return CliRunner().invoke(app, ["report", str(tmp_path), *options])


@pytest.mark.parametrize(
    ("options", "changes", "code"),
    [
        ([], INVALID, 0),
        (["--fail-on", "invalid"], {}, 0),
        (["--fail-on", "invalid"], DEGRADED, 0),
        (["--fail-on", "invalid"], INVALID, 7),
        (["--fail-on", "degraded"], DEGRADED, 7),
        (["--fail-on", "degraded"], {}, 0),
        (["--fail-under", "0"], {}, 0),
        (["--fail-under", "0.01"], {}, 7),
        (["--fail-under", "0"], INVALID, 7),
        (["--json", "--fail-on", "degraded"], DEGRADED, 7),
        (["--fail-under", "1.5"], {}, 2),
    ],
)
def test_exit_codes(options: list[str], changes: dict[str, Any], code: int, tmp_path: Path) -> None:
    done = judged(tmp_path, *options, **changes)
    assert done.exit_code == code, done.output
    assert ("gate: robustness: " in done.output) == (code == EXIT_CODE)


def test_a_gate_that_has_nothing_to_judge_is_not_passed() -> None:
    old = make_result(schema_version=1, samples=None)
    for studies, what in (([], "no result is of robustness"), ([old], "holds no samples to count it from")):
        (case,) = failures([case for case in judge(studies, fail_under=0.0) if case.code == "ROBUST_ACCURACY"])
        assert what in case.message


def test_a_gate_s_message_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """GitHub takes a line that begins with two colons for a command."""
    result = make_result(**DEGRADED)
    issue = result.issues[0].model_copy(update={"message": "seen\n::stop-commands::x"})
    with pytest.raises(typer.Exit):
        leave_by_gates([result.model_copy(update={"issues": (issue,)})], None, "degraded", None, False, always=False)
    assert not [line for line in capsys.readouterr().err.splitlines() if line.startswith("::")]


def test_the_bound_is_met_by_what_was_measured() -> None:
    result = make_result()
    (case,) = [case for case in judge([result], fail_under=0.0) if case.code == "ROBUST_ACCURACY"]
    assert case.outcome == "passed" and case.message.startswith("0.0 % (0 of 300;")
    assert f"{EPS[8]} of {N}" in case.message and "at eps 8 steps, at least 0.0 % is wanted" in case.message


def test_junit_has_a_case_for_every_check(tmp_path: Path) -> None:
    changes = {"symptoms": {"shown": "labels", "plateaus": None}}
    result = make_result(**changes)
    done = judged(tmp_path, "--junit", str(tmp_path / "ci" / "junit.xml"), "--fail-on", "degraded", **changes)
    assert done.exit_code == EXIT_CODE
    root = Xml.parse(tmp_path / "ci" / "junit.xml").getroot()
    found = {case.get("name"): case for case in root.iter("testcase")}
    assert set(found) == {*(one.code for one in (*result.issues, *result.unmade)), *result.passed}
    failed = {name for name, case in found.items() if case.find("failure") is not None}
    skipped = {name for name, case in found.items() if case.find("skipped") is not None}
    assert failed == {issue.code for issue in result.issues} and skipped == {one.code for one in result.unmade}
    assert (root.get("tests"), root.get("failures"), root.get("skipped")) == tuple(
        str(len(names)) for names in (found, failed, skipped)
    )


def test_annotations_are_github_s_and_stay_one_line_each() -> None:
    result = make_result(**DEGRADED)
    nasty = "50 % of\nall::error title=x::y\x1b[2J"
    first, *others = result.issues
    result = result.model_copy(update={"issues": (first.model_copy(update={"message": nasty}), *others)})
    lines = list(workflow_commands([result], judge([result], fail_on="degraded")))
    assert all("\n" not in line and "\x1b" not in line for line in lines)
    assert lines[0] == f"::error title=robustness%3A {first.code}::warn%3A 50".replace("warn%3A", "warn:") + (
        " %25 of\\u000aall::error title=x::y\\u001b[2J"
    )
    assert lines[-1] == f"::notice title=robustness%3A degraded::{len(result.issues)} findings"
    (warning, *_) = workflow_commands([result], judge([result]))
    assert warning.startswith("::warning title=robustness%3A ")


def test_quiet_leaves_the_annotations_that_were_asked_for(tmp_path: Path) -> None:
    done = judged(tmp_path, "--annotations", "--quiet", **DEGRADED)
    lines = done.stdout.splitlines()
    assert lines and all(line.startswith("::") for line in lines)


def test_words_of_others_are_xml_that_can_be_read() -> None:
    result = make_result(**DEGRADED)
    issue = result.issues[0].model_copy(update={"message": "<b>&\x00\x1b\ud800"})
    text = to_junit(judge([result.model_copy(update={"issues": (issue,)})], fail_on="degraded"))
    (failure,) = Xml.fromstring(text.partition("?>")[2]).iter("failure")
    assert failure.get("message") == "warn: <b>&\\u0000\\u001b\\ud800"


def test_every_check_says_what_it_looks_for() -> None:
    source = "".join(path.read_text() for path in (ROOT / "host" / "tritguard" / "evaluate").rglob("*.py"))
    raised = set(re.findall(r"\b(?:warn|invalid)\(\s*\"([A-Z_]+)\"", source))
    known = {one.code for one in (*CHECKS, *data_checks.CHECKS)} | raised
    missing = known - set(explanations())
    assert not missing, f"say in host/tritguard/report/checks.toml, in a line each, what these look for: {missing}"
    assert all(not text.endswith(".") and len(text) < 120 for text in explanations().values())


def test_exit_codes_are_documented_and_in_every_help() -> None:
    page = (ROOT / "docs" / "exit-codes.md").read_text()
    codes = {
        kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TritguardError)
    } | {0, EXIT_CODE}
    for code in codes:
        assert f"\n| {code} | " in page
    invoke = CliRunner().invoke
    for arguments in (["--help"], *([verb, "--help"] for verb in ("attack", "report", "verify"))):
        shown = " ".join(invoke(app, arguments, env={"COLUMNS": "200"}).output.split())
        assert "Exit codes: 0 done; 1 a result is invalid" in shown and "7 a gate was not passed" in shown
    assert {"init", "compare", "evidence", "verify", "schema"} <= set(VERBS)


@pytest.mark.slow
def test_the_workflow_that_is_shown_judges_a_run(tmp_path: Path) -> None:
    """Its step that judges, to the letter, on the results of runs that are good enough and not."""
    text = (ROOT / "docs" / "robustness.yml").read_text()
    steps = yaml.safe_load(text)["jobs"]["robustness"]["steps"]
    commands = [step["run"] for step in steps if "run" in step]
    assert [command.split()[1] for command in commands if command.startswith("tritguard")] == [
        "run",
        "report",
        "evidence",
    ]
    (judge_step,) = [step["run"] for step in steps if step.get("name") == "judge"]
    shim = tmp_path / "bin" / "tritguard"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m tritguard "$@"\n')
    shim.chmod(0o755)
    run = tmp_path / "run"
    run.mkdir()
    for changes, code in ((LARGEST, 0), ({}, 7)):
        (run / "result.json").write_text(make_result(**_consistent(changes)).model_dump_json())
        environment = os.environ | {"PATH": f"{shim.parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["bash", "-e", "-c", judge_step], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
        assert (run / "junit.xml").is_file() and "::notice title=robustness" in done.stdout
        assert ("::error" in done.stdout) == (code == EXIT_CODE)


def _consistent(changes: dict[str, Any]) -> dict[str, Any]:
    """A threat model of eps 1 alone leaves the doubled attack nothing at the others."""
    if "threat_model" not in changes:
        return changes
    fields = make_result().model_dump(mode="json")
    fields["samples"]["doubled"] = [row for row in fields["samples"]["doubled"] if row["eps_steps"] == 1]
    doubling = [row for row in fields["doubling"] if row["eps_steps"] == 1]
    pictures = [one for one in fields["pictures"] if one["eps_steps"] == 1]
    return {"samples": fields["samples"], "doubling": doubling, "pictures": pictures} | changes
