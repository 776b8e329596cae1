"""Holds files against the published schemas, which are docs/schema/*.json and not what the code would say today."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from tests.support.shared import ROOT

PUBLISHED = ROOT / "docs" / "schema"


@functools.cache
def validator(name: str) -> Draft202012Validator:
    schema = json.loads((PUBLISHED / f"{name}.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def faults_of(content: Any, name: str) -> list[str]:
    """What a schema says against the content of a file, with the place of each fault."""
    return [f"{error.json_path}: {error.message}" for error in validator(name).iter_errors(content)]


def assert_conforms(path: Path, name: str) -> None:
    """Check that a file is what its published schema says."""
    assert not faults_of(json.loads(path.read_text()), name), path
