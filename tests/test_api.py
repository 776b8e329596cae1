"""The road as Python functions."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from types import FunctionType

import pytest

from tests.support.shared import ROOT
from tritguard import api
from tritguard.data.fashion_mnist import DEBIAN_DIR
from tritguard.evaluate.registry import STUDIES

pytestmark = pytest.mark.slow


def test_the_lines_of_the_readme_run_as_written(tmp_path: Path) -> None:
    """As a script without a guard."""
    if not DEBIAN_DIR.is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    pytest.importorskip("tensorflow", reason="training needs the extra 'train'")
    (lines,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    notebook = json.loads((ROOT / "examples" / "first.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert "\n".join(cells).split() == lines.split(), "the notebook and the README show the same lines"
    (tmp_path / "first.py").write_text("\n".join(cells))
    command = [sys.executable, "first.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stderr
    board, numbers, report = done.stdout.splitlines()  # the functions themselves print nothing
    assert re.fullmatch(r"mps2-an386 keeps \d+ bytes in RAM", board)
    result = api.read_study(tmp_path / "first" / "result.json")
    clean, robust = map(float, numbers.split(" ")[1:])
    assert numbers.startswith(f"{result.status} ") and 0 <= robust <= clean <= 1
    assert {issue.code for issue in result.issues} == {"FEW_SAMPLES", "NO_CONTROL", "LITTLE_EVIDENCE"}
    assert "<html" in (tmp_path / report).read_text()


def test_every_study_has_its_function_or_goes_with_a_run() -> None:
    assert {kind.table for kind in STUDIES} <= set(api.__all__)


def test_a_run_can_be_described_without_a_file() -> None:
    settings = api.RunSettings(name="x", model="x.tflite", data="x.npz")
    assert [kind.name for kind, _ in settings.studies] == ["robustness"]


def test_all_that_is_offered_is_there_and_documented() -> None:
    for name in api.__all__:
        offered = getattr(api, name)
        assert offered.__doc__ or not isinstance(offered, type | FunctionType), name
    assert (Path(api.__file__).parents[1] / "py.typed").is_file()


def test_other_names_are_not_there() -> None:
    assert dir(api) == api.__all__
    with pytest.raises(AttributeError, match=r"tritguard\.api.*atack"):
        api.atack  # type: ignore[attr-defined] # noqa: B018 - only a type checker and this line see the misspelling


def test_only_the_command_line_prints() -> None:
    package = Path(api.__file__).parents[1]
    for path in package.rglob("*.py"):
        if (
            path.relative_to(package).parts[0] == "cli" or path.name == "interpreter.py"
        ):  # the oracle's process has no other way
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            prints = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
            assert not prints, f"{path.relative_to(package)}:{node.lineno}"
