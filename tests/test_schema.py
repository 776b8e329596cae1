"""The published JSON Schemas: that they are the code's, and that files are what they say.

Tests that make a file on real parts hold it against its schema too (`assert_conforms`); those here need no parts.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from tests.support.robustness_result import BLIND, make_result
from tests.support.schemas import PUBLISHED, assert_conforms, faults_of
from tests.support.shared import ROOT
from tritguard.api.schemas import READ, WRITTEN, schema, write_schemas
from tritguard.boards import available_boards
from tritguard.cli import app
from tritguard.errors import BadInputError

CHANGED = """docs/schema/{name}.json is not what the records say.

The schema is a contract with those who read the files. If a reader of the old format could stumble over a new file (a
field that went, was renamed, or means something else), raise the record's `schema_version`, go on reading the old one,
and say so in CHANGELOG.md. Then write the schemas anew with: tritguard schema -o docs/schema
"""


@pytest.mark.parametrize("name", [*WRITTEN, *READ])
def test_the_published_schema_is_that_of_the_records(name: str) -> None:
    published = PUBLISHED / f"{name}.json"
    same = published.is_file() and json.loads(published.read_text()) == json.loads(schema(name))
    assert same, CHANGED.format(name=name)
    Draft202012Validator.check_schema(json.loads(schema(name)))


def test_nothing_else_is_published() -> None:
    assert {path.stem for path in PUBLISHED.glob("*.json")} == {*WRITTEN, *READ}


def test_every_record_with_a_version_has_a_schema() -> None:
    """Who adds a kind of file is reminded to publish its schema."""
    versioned = set()
    for path in (ROOT / "host" / "tritguard").rglob("*.py"):
        for record in [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]:
            fields = [field for field in record.body if isinstance(field, ast.AnnAssign) and field.value]
            if "schema_version" in {ast.unparse(field.target) for field in fields}:
                versioned.add(record.name)
    assert versioned == {record.__name__ for record in WRITTEN.values() if "schema_version" in record.model_fields}


@pytest.mark.parametrize("changes", [{}, {"symptoms": BLIND}, {"control": None}, {"pictures": []}])
def test_results_conform(changes: dict[str, object]) -> None:
    assert not faults_of(json.loads(make_result(**changes).model_dump_json()), "robustness")


def test_a_result_that_is_not_one_is_seen() -> None:
    content = json.loads(make_result().model_dump_json())
    content["clean"]["k"] = "many"
    content["samples"]["attacks"][0]["broken"] = "01x"
    del content["curve"]
    clean, samples, curve = sorted(faults_of(content, "robustness"))
    assert clean == "$.clean.k: 'many' is not of type 'integer'"
    assert samples.startswith("$.samples: ") and curve == "$: 'curve' is a required property"


def test_boards_and_the_demo_conform() -> None:
    for board in available_boards():
        assert not faults_of(tomllib.loads((ROOT / "boards" / f"{board.id}.toml").read_text()), "board"), board.id
    run, train = (
        tomllib.loads(block)
        for block in re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "configuration.md").read_text(), re.DOTALL)
    )
    for config in (tomllib.loads((ROOT / "docs" / "demo.toml").read_text()), run | train):
        assert not faults_of(config, "configuration")
    assert faults_of({"name": "x", "build": {"max_flash": "much"}}, "configuration")
    assert faults_of({"name": "x", "atack": {}}, "configuration")


@pytest.mark.parametrize("example", sorted(ROOT.glob("examples/*/train.json")), ids=lambda path: path.parent.name)
def test_records_of_trainings_conform(example: Path) -> None:
    assert_conforms(example, "training")


def test_fields_say_what_their_records_docstrings_say() -> None:
    found = json.loads(schema("robustness"))
    assert found["$id"] == "urn:tritguard:schema:robustness:2"
    assert found["$defs"]["Confirmation"]["properties"]["inputs"]["description"] == "how many inputs were replayed."
    assert found["description"].startswith("What attacks leave of a deployed model")
    assert "Attributes" not in json.dumps(found)


def test_the_verb(tmp_path: Path) -> None:
    run = CliRunner().invoke
    names = run(app, ["schema"]).stdout
    assert all(name in names for name in (*WRITTEN, *READ))
    assert json.loads(run(app, ["schema", "board"]).stdout) == json.loads(schema("board"))
    assert run(app, ["schema", "-o", str(tmp_path / "all")]).exit_code == 0
    assert {path.name for path in (tmp_path / "all").iterdir()} == {path.name for path in write_schemas(tmp_path / "b")}
    with pytest.raises(BadInputError, match="there is no schema 'bord'; give one of robustness"):
        run(app, ["schema", "bord"], catch_exceptions=False)
