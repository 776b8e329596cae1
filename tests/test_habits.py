"""What keeps the repository in order: the hosted workflow, the hooks, the quick suite, temporary files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.quick import heavy
from tests.support.shared import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def supported_pythons() -> set[str]:
    first, end = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["project"]["requires-python"]).groups()  # type: ignore[union-attr]
    return {f"3.{minor}" for minor in range(int(first), int(end))}


def test_the_hosted_workflow_runs_the_suite_on_every_supported_python() -> None:
    workflow: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())
    jobs = workflow["jobs"]
    assert set(jobs["ubuntu"]["strategy"]["matrix"]["python"]) == supported_pythons()
    for job in jobs.values():
        assert job["steps"][-1] == {"run": "scripts/test"}


def test_hooks_and_tools_have_the_same_versions() -> None:
    """Every hook is a program of the environment, which an extra installs."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"]
    installed = {re.match(r"[\w-]+", need)[0] for need in PROJECT["project"]["optional-dependencies"]["test"]}  # type: ignore[index]
    for hook in hooks[0]["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].split()[0].removeprefix(".venv/bin/") in installed


@pytest.mark.parametrize(
    ("event", "argument", "reason"),
    [
        ("import", "tensorflow.python.framework", "tensorflow"),
        ("import", "tensorflow_lookalike", None),
        ("subprocess.Popen", "/usr/bin/arm-none-eabi-gcc", "arm-none-eabi-gcc"),
        ("subprocess.Popen", b"qemu-system-arm", "qemu-system-arm"),
        ("subprocess.Popen", "cc", None),
        ("open", "tensorflow", None),
    ],
)
def test_a_quick_run_knows_what_is_heavy(event: str, argument: Any, reason: str | None) -> None:
    assert heavy(event, (argument,)) == reason


QUICK = """
import subprocess
from hypothesis import given, strategies

def test_light(): pass
def test_training(): import tensorflow
def test_emulated(): subprocess.run(["qemu-system-arm", "--version"])

@given(strategies.integers())
def test_property(number):
    seen.append(number)
seen = []
def test_few_examples(): assert 0 < len(seen) < 10
"""


def test_a_quick_run_skips_what_turns_out_to_be_heavy(tmp_path: Path) -> None:
    (tmp_path / "test_toy.py").write_text(QUICK)
    (tmp_path / "test_module.py").write_text("import tensorflow\n\ndef test_nothing(): pass\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.quick", "-p", "no:cacheprovider", "-q", "-rs"]
    options = [f"--rootdir={tmp_path}", "-c", os.devnull, str(tmp_path)]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "3 passed, 3 skipped" in done.stdout, done.stdout + done.stderr
    assert {"a quick run goes without tensorflow", "a quick run goes without qemu-system-arm"} <= {
        line.partition(": ")[2] for line in done.stdout.splitlines() if line.startswith("SKIPPED")
    }


def test_temporary_files_lie_in_the_runs_own_folder(common_temp: Path) -> None:
    """Those of this process and of its children, so that they go with it."""
    code = "import tempfile; print(tempfile.gettempdir())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert Path(tempfile.gettempdir()) == Path(child) == common_temp / "temporary"


def test_the_container_has_what_the_setup_installs_and_no_rights() -> None:
    """The image itself is not built here: there is no registry to take Debian from."""
    text = (ROOT / "scripts" / "Containerfile").read_text()
    setup = (ROOT / "scripts" / "setup").read_text()
    needed = {name for names in re.findall(r"needed\+?=\(([\w -]+)\)", setup) for name in names.split()}
    assert needed - {"python3-venv"} <= set(text.split()) and "dataset-fashion-mnist" in text
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / name).exists() for name in source.split()), source
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {
        Path(name).parts[0] for name in (*wheel["packages"], *wheel["force-include"], PROJECT["project"]["readme"])
    }
    assert needed <= set(" ".join(re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M)).split())
    last = text.rpartition("FROM ")[2]
    assert "USER tritguard" in last and "root" not in last.partition("USER tritguard")[2]


@pytest.mark.slow
def test_the_source_distribution_can_test_itself(tmp_path: Path) -> None:
    """It holds the whole repository: what the suite reads, the suite, and what runs it."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", tmp_path]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        held = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert {
        ".ci/run",
        "scripts/test",
        "scripts/setup",
        "tests/conftest.py",
        "SECURITY.md",
        "host/tritguard/py.typed",
    } <= held
    if (ROOT / ".git").exists():
        tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout.decode()
        assert set(filter(None, tracked.split("\0"))) <= held


@pytest.mark.slow
def test_a_version_is_its_tag(tmp_path: Path) -> None:
    """A release says its tag, what follows it says more, and an archive without its history says what comes next."""

    def git(*command: str) -> None:
        person = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *person, *command], cwd=tmp_path, check=True, capture_output=True)

    def version() -> str:
        """What the wheel would be called."""
        told = subprocess.run(
            [sys.executable, "-m", "hatchling", "version"], cwd=tmp_path, check=True, capture_output=True
        )
        return told.stdout.decode().strip()

    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    assert re.fullmatch(r"\d+\.\d+\.0\.dev0", version())
    git("init", "--quiet")
    git("add", "pyproject.toml")
    git("commit", "--quiet", "--message", "first")
    git("tag", "v9.8.7")
    assert version() == "9.8.7"
    git("commit", "--quiet", "--allow-empty", "--message", "second")
    assert version() == "9.8.8.dev1"
