"""Files that no program of ours wrote: each ends in one message, without a trace and without much memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tritguard import api
from tritguard.boards import load_board
from tritguard.emit import Bundle, open_bundle
from tritguard.errors import BadInputError
from tritguard.records import read_toml

pytest_plugins = ("tests.support.device_fixtures",)

DEEP = 200_000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a = " + "[" * DEEP, "nested too deeply"),
        ("a = " + "{a=" * DEEP, "nested too deeply"),
        ("[" + ".".join("a" * DEEP) + "]", "2,000 dots"),
        (".".join("a" * DEEP) + " = 1", "2,000 dots"),
        ("#" * (2 << 20), "1,048,576 bytes"),
        ("a = 9999-99-99", "not TOML"),
        ("a = " + "9" * 10_000, "not TOML"),
    ],
)
@pytest.mark.parametrize("read", [read_toml, lambda path: load_board(str(path)), api.read_run_config])
def test_settings_that_are_none(content: str, words: str, read: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "board.toml").write_text(content)
    with pytest.raises(BadInputError, match=words):
        read(tmp_path / "board.toml")


@pytest.mark.parametrize("content", ["[" * DEEP, '{"kind": ' + "[" * DEEP, '{"a":' * DEEP])
def test_json_nested_too_deeply(content: str, tmp_path: Path) -> None:
    for name in ("manifest.json", "result.json"):
        (tmp_path / name).write_text(content)
    with pytest.raises(BadInputError, match="recursion limit"):
        open_bundle(tmp_path)
    with pytest.raises(BadInputError, match="recursion limit"):
        api.report(tmp_path / "result.json")


def test_a_manifest_without_layers(small_bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(small_bundle.path, tmp_path / "bundle")
    manifest = tmp_path / "bundle" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"layers": []}))
    with pytest.raises(BadInputError, match="layers: Tuple should have at least 1 item"):
        open_bundle(tmp_path / "bundle")
