"""The direction of imports, and what must stay cheap to import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.shared import ROOT
from tritguard.attack.norms import NORMS
from tritguard.evaluate.registry import STUDIES

PACKAGE = ROOT / "host" / "tritguard"
FOUNDATION = {
    "errors",
    "host_compiler",
    "interpreter",
    "predictor",
    "printable",
    "oracle",
    "files",
    "heavy_imports",
    "records",
    "resources",
    "processes",
    "progress",
    "templating",
    "versions",
}
# Left of a name: what it may import. Same rank: not from each other.
RANKS = [
    {"data", "boards", "foreign"},
    {"train"},
    {"convert"},
    {"graph"},
    {"emit"},
    {"build", "twin", "export"},
    {"device"},
    {"attack", "profile"},
    {"certify", "fitting"},
    {"campaign"},
    {"evaluate"},
    {"report"},
    {"api"},
    {"serve"},
    {"cli", "pytest_plugin"},
]
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}
# The same inside the packages that hold rooms of their own; a package's face (`__init__.py`) may import any of them.
INNER = {
    "graph": [
        {"model", "flatbuffer"},
        {"stateful", "wide"},
        {"arithmetic", "call"},
        {"formats"},
        {"arena", "passes", "reading"},
        {"emission"},
    ],
    "evaluate": [
        {"limits", "samples", "study"},
        {"confirmation", "data_checks", "kind", "measurement", "selftest"},
        {"findings"},
        {kind.name for kind in STUDIES},
        {"registry"},
    ],
}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> set[str]:
    """Modules of tritguard that a file imports, or imports something from, at any depth of its code."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            inside = node.module == "tritguard" or (PACKAGE.parent / (node.module or "").replace(".", "/")).is_dir()
            names = [f"{node.module}.{alias.name}" for alias in node.names] if inside else [node.module or ""]
        modules |= {name for name in names if name.startswith("tritguard.")}
    return modules


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_room_has_a_rank() -> None:
    assert {room(path) for path in FILES} - {"__init__", "__main__"} == FOUNDATION | set(RANK)


def test_imports_point_one_way() -> None:
    wrong = []
    for path in FILES:
        here = "cli" if room(path) == "__main__" else room(path)
        theres = {name.split(".")[1] for name in imported_modules(path)} - {here, "__version__"} - FOUNDATION
        if here in FOUNDATION:
            wrong += [f"{path.relative_to(PACKAGE)}, of the foundation, imports {there}" for there in theres]
        else:
            wrong += [f"{path.relative_to(PACKAGE)} imports {there}" for there in theres if RANK[there] >= RANK[here]]
    assert not wrong


@pytest.mark.parametrize("package", INNER)
def test_imports_point_one_way_inside_a_package_too(package: str) -> None:
    rank = {name: place for place, names in enumerate(INNER[package]) for name in names}
    folder = PACKAGE / package
    files = {path: path.relative_to(folder).parts[0].removesuffix(".py") for path in folder.rglob("*.py")}
    assert set(files.values()) - {"__init__"} == set(rank)
    for path, here in files.items():
        if here == "__init__":
            continue
        inside = {name.split(".")[2] for name in imported_modules(path) if name.startswith(f"tritguard.{package}.")}
        for there in (inside & set(rank)) - {here}:
            assert rank[there] < rank[here], f"{path.relative_to(PACKAGE)} imports {package}/{there}"


def test_tests_share_through_the_support_package_only() -> None:
    """A test file that another one imports could not be changed, split or run without thinking of both."""
    for path in (ROOT / "tests").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) tests\.test_", path.read_text(), re.MULTILINE), path


@pytest.mark.parametrize("package", ["attack", "certify"])
def test_attacks_and_bounds_know_nothing_of_twin_or_board(package: str) -> None:
    """As docs/architecture.md says: they ask a Predictor, though the ranks alone would allow more."""
    for path in (PACKAGE / package).rglob("*.py"):
        known = {name.split(".")[1] for name in imported_modules(path)} & {"twin", "build", "device", "boards"}
        assert not known, f"{path.relative_to(PACKAGE)} imports {', '.join(known)}"


def test_help_and_the_api_import_nothing_that_is_slow_to_import() -> None:
    """Help is asked for often, and each of these modules takes longer to import than all that help needs."""
    code = (
        "import sys; from tritguard import api; from typer.testing import CliRunner; from tritguard.cli import app; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0; "
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    slow = {
        "numpy",
        "pydantic",
        "tensorflow",
        "keras",
        "art",
        "sklearn",
        "scipy",
        "h5py",
        "tflite_micro",
        "platformio",
        "SCons",
    }
    assert slow.isdisjoint(done.stdout.split())


def test_python_processes_are_started_in_one_way() -> None:
    """Anything else would import what lies in the working directory (`tritguard.processes`)."""
    for path in FILES:
        code, name = path.read_text(), path.relative_to(PACKAGE).as_posix()
        assert "sys.executable" not in code or name == "processes.py", name
        assert "multiprocessing" not in code or "ProcessPoolExecutor(" not in code or "with spawning()" in code, name


def test_tensorflow_traces_in_one_way() -> None:
    """Anything else would rewrite the source of all that is traced, Keras's included (`tritguard.train.backend`)."""
    for path in FILES:
        name = path.relative_to(PACKAGE).as_posix()
        assert not re.search(r"\btf\.(function|autograph)\b", path.read_text()) or name == "train/backend.py", name


def compares_norms(tree: ast.AST) -> Iterator[ast.AST]:
    """Where code asks which norm it has: by its name, or by its class."""
    names, classes = set(NORMS), {type(norm).__name__ for norm in NORMS.values()}
    for node in ast.walk(tree):
        asked: list[ast.AST] = []
        if isinstance(node, ast.Compare | ast.MatchValue):
            asked = [node]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            asked = list(node.args[1:]) if node.func.id in ("isinstance", "issubclass") else []
        elif isinstance(node, ast.MatchClass):
            asked = [node.cls]
        for inner in (inner for outer in asked for inner in ast.walk(outer)):
            if isinstance(inner, ast.Constant) and inner.value in names:
                yield node
            if getattr(inner, "id", getattr(inner, "attr", None)) in classes:
                yield node


@pytest.mark.parametrize(
    "code",
    [
        'if norm == "Linf": pass',
        'reach = 1 if "L2" != ball.norm else 2',
        'assert norm in ("L2", "L1")',
        'match norm:\n    case "Linf": pass',
        "isinstance(ball.geometry, Linf)",
        "isinstance(norm, (norms.L2, int))",
        "match norm:\n    case L2(): pass",
        "assert type(norm) is Linf",
    ],
)
def test_a_question_for_a_norm_is_seen(code: str) -> None:
    assert list(compares_norms(ast.parse(code)))


def test_only_norms_ask_which_norm_it_is() -> None:
    own = PACKAGE / "attack" / "norms"
    found = [
        f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', '?')}"
        for path in FILES
        if own not in path.parents
        for node in compares_norms(ast.parse(path.read_text()))
    ]
    assert found == []


def test_the_document_names_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    for name in FOUNDATION | set(RANK):
        assert name in text, f"docs/architecture.md does not mention {name}"


def test_no_driver_is_named_outside_its_folder() -> None:
    records = (ROOT / "firmware" / "port").glob("*/driver.toml")
    # A framework's driver is named as the framework, of which the code does speak.
    names = {record.parent.name for record in records if "framework" not in tomllib.loads(record.read_text())}
    assert len(names) >= 4
    named = re.compile(rf"\b({'|'.join(sorted(names))})\b", re.IGNORECASE)
    sources = [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.jinja"), *(ROOT / "firmware" / "platform").rglob("*.*")]
    sources += [*(ROOT / "firmware").glob("*.*"), *(ROOT / "firmware" / "port").glob("*.*")]
    for path in sources:
        found = named.search(path.read_text())
        assert found is None, f"{path.relative_to(ROOT)} names the driver {found[0]}"
