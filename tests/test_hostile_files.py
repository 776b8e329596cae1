"""Files that no program of ours wrote: each ends in one message, without a trace and without much memory."""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.support.study_results import honest_results
from tritguard import api
from tritguard.boards import load_board
from tritguard.emit import Bundle, open_bundle
from tritguard.errors import BadInputError
from tritguard.evaluate.registry import STUDIES, read_study
from tritguard.evaluate.study import Study
from tritguard.records import read_toml
from tritguard.report.registry import facts_of, to_html, to_terminal

pytest_plugins = ("tests.support.device_fixtures",)

DEEP = 200_000
CHANGES = {"robustness": 8}  # of a result; its report takes 0.2 s of the processor, those of the others 0.03 s
MOST_CHANGES = 20


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


def _put(fields: Any, place: tuple[str | int, ...], value: object) -> None:
    """Set what stands at a place in fields; None removes it."""
    *inside, last = place
    for key in inside:
        fields = fields[key]
    if value is None:
        del fields[last]
    else:
        fields[last] = value


GROWN_BY_NOTHING = {"attack": "Square", "eps_steps": 1, "queries": [300], "broken": [], "settled": False}
# Places of honest results, what they are set to (None: removed), and what is said. Reports once ended in a trace there.
SHORT_OF: list[tuple[str, tuple[str | int, ...], object, str]] = [
    ("transfer", ("cells", 1), None, "cells: answers of party 1 to inputs crafted on party 0 at eps 1 are missing"),
    ("transfer", ("cells", 1, "target"), 0, "cells: .* party 1 .* are missing"),
    ("transfer", ("cells", 0, "eps_steps"), 2, "at eps 1 are missing|at eps 2 are there"),
    ("transfer", ("eps_input", 1), None, "eps_input: has 1 bounds, plan.eps has 2"),
    ("transfer", ("drift", 0, "towards"), [4, -1], "drift.0.towards.1: Input should be greater than or equal to 0"),
    ("transfer", ("parties",), [], "parties: Tuple should have at least 1 item"),
    ("certify", ("points", 1, "tried", "splitting"), None, "points.1.tried: splitting is missing"),
    ("certify", ("points", 0, "seconds", "intervals"), None, "points.0.seconds: intervals is missing"),
    ("privacy", ("models", 0, "leaks", 1, "curve", 3), None, "models.0.leaks.1.curve: has 9 rates, one for each of 10"),
    ("privacy", ("models",), [], "models: Tuple should have at least 1 item"),
    ("faults", ("models", 0, "weight_bits"), 0, "models.0.points.0.flips: 1, there are 0 bits of weights"),
    ("faults", ("models", 0, "tflm", 0, "flips"), 900, "models.0.tflm.0.flips: 900, there are 800 bits of weights"),
    ("faults", ("models",), [], "models: Tuple should have at least 1 item"),
    ("corruptions", ("classes",), [], "classes: Tuple should have at least 1 item"),
    ("sound", ("classes",), [], "classes: Tuple should have at least 1 item"),
    ("sound", ("zero_point",), 10**18, "zero_point: Input should be less than or equal to 127"),
    ("sound", ("zero_point",), 10**40, "a number of 41 digits"),
    ("transfer", ("parties", 0, "clean", "n"), 10**400, "a number of 401 digits"),
    ("transfer", ("parties", 0, "clean", "n"), -(10**400), "a number of 401 digits"),
    ("robustness", ("growth", 0), GROWN_BY_NOTHING, "growth.0.settled: no larger budget was tried"),
]
# The same where what is set is sound: reports once ended in a trace there.
ODD_BUT_SOUND: list[tuple[str, int, tuple[str | int, ...], object]] = [
    ("deployment", 0, ("latency", "ticks_median"), 0),
    ("deployment", 0, ("classes", 1), ""),
    ("deployment", 1, ("latency", "ticks_median"), 0),
    ("certify", 0, ("input_unit",), ""),
    ("robustness", 0, ("latency", "ticks_median"), 0),
    ("robustness", 0, ("footprint", "regions"), [{"name": ".bss", "start": 0, "bytes": 0, "load": None}]),
]


@pytest.mark.parametrize(("kind", "place", "value", "words"), SHORT_OF)
def test_a_result_that_lacks_what_its_report_shows(
    kind: str, place: tuple[str | int, ...], value: object, words: str, tmp_path: Path
) -> None:
    fields = json.loads(honest_results(kind)[0].model_dump_json())
    _put(fields, place, value)
    (tmp_path / "result.json").write_text(json.dumps(fields))
    with pytest.raises(BadInputError, match=words) as refused:
        read_study(tmp_path / "result.json")
    assert "as tritguard wrote it" in str(refused.value)


@pytest.mark.parametrize(("kind", "which", "place", "value"), ODD_BUT_SOUND)
def test_an_odd_result_is_shown(
    kind: str, which: int, place: tuple[str | int, ...], value: object, tmp_path: Path
) -> None:
    fields = json.loads(honest_results(kind)[which].model_dump_json())
    _put(fields, place, value)
    (tmp_path / "result.json").write_text(json.dumps(fields))
    _show(read_study(tmp_path / "result.json"))


def _show(study: Study) -> None:
    """Make all that is made of a result."""
    assert to_html(study) and facts_of(study) and study.asked
    Console(file=io.StringIO(), width=100).print(to_terminal(study))
    assert study.attacked is None or study.attacked.bounds


def _places(value: Any, inside: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """All places in the fields of a result; of a list the first and the last item stand for all."""
    if inside:
        yield inside
    keys = list(value) if isinstance(value, dict) else sorted({0, len(value) - 1}) if isinstance(value, list) else []
    for key in keys if value else ():
        yield from _places(value[key], (*inside, key))


def _others(value: object) -> list[object]:
    """What a value is changed to; None removes it."""
    if isinstance(value, bool):
        return [None, not value]
    if isinstance(value, int | float):
        return [None, 0, -1, value + 1]
    if isinstance(value, list):
        return [None, [], value[:-1], value + value[-1:]]
    return [None, {} if isinstance(value, dict) else ""]


@pytest.mark.parametrize("kind", [kind.name for kind in STUDIES])
def test_a_result_with_one_change_is_refused_or_shown(kind: str, tmp_path: Path) -> None:
    """What a change breaks has to be found when the file is read, not by the report."""
    rng, path = random.Random(kind), tmp_path / "result.json"
    texts = [each.model_dump_json() for each in honest_results(kind)]
    for _ in range(CHANGES.get(kind, MOST_CHANGES)):
        fields = json.loads(rng.choice(texts))
        place = rng.choice(list(_places(fields)))
        value = fields
        for key in place:
            value = value[key]
        _put(fields, place, rng.choice(_others(value)))
        path.write_text(json.dumps(fields))
        with suppress(BadInputError):
            _show(read_study(path))
