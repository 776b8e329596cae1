"""The registry of studies: what goes through it, and that nothing goes around it."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.device_support import inputs
from tests.support.robustness_result import make_result
from tests.support.shared import ROOT
from tritguard import api
from tritguard.api.keeping import attacks_by, differing, keep_other_result, runs_on, stated
from tritguard.api.road import RunConfig, Watcher, _other_keys
from tritguard.api.studies.outcome import carry_out_watched
from tritguard.build import Build
from tritguard.data import Dataset
from tritguard.emit import Bundle
from tritguard.errors import BadInputError, DeviceError
from tritguard.evaluate.faults.result import FaultedModel, FaultPlan, FaultResult
from tritguard.evaluate.kind import StudyKind
from tritguard.evaluate.registry import STUDIES, kind_of, read_study, studies_beside
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.study import ROBUSTNESS
from tritguard.evaluate.study import Issue, ModelIdentity, Rate, StudyProvenance
from tritguard.progress import Progress, Stages, silent
from tritguard.report.registry import report_of, to_html, to_terminal
from tritguard.report.study import Report

pytest_plugins = ["tests.support.device_fixtures"]

PACKAGE = ROOT / "host" / "tritguard"


def fault_result(model_sha256: str) -> FaultResult:
    provenance = make_result().provenance.model_dump(include=set(StudyProvenance.model_fields))
    identity = ModelIdentity(
        name="small", bundle_sha256="b" * 64, model_sha256=model_sha256, ternary_layers=1, weight_layers=2
    )
    model = FaultedModel(
        model=identity, weight_bits=800, formats={"dual2": 100}, clean=Rate.of(90, 100), points=(), chosen=(),
        undefined=3, replay=None,
    )  # fmt: skip
    return FaultResult(
        status="degraded",
        issues=tuple(Issue(code=code, severity="warn", message="") for code in ("NO_DEVICE", "UNDEFINED_FAULTS")),
        provenance=StudyProvenance.model_validate(provenance),
        plan=FaultPlan(),
        classes=5,
        models=(model,),
    )


@pytest.mark.parametrize("kind", STUDIES, ids=lambda kind: kind.name)
def test_each_study_has_a_plan_with_defaults_a_result_of_its_name_and_a_report(kind: StudyKind[Any, Any]) -> None:
    assert kind.plan() == kind.plan.model_validate({})
    assert kind.result.model_fields["kind"].default == kind.name
    assert isinstance(report_of(kind.name), Report)


def test_studies_do_not_get_in_each_others_way() -> None:
    for names in zip(*((kind.name, kind.table, kind.file) for kind in STUDIES), strict=True):
        assert len(set(names)) == len(STUDIES)
    assert [kind.leads for kind in STUDIES].index(True) == 0
    assert sum(kind.leads for kind in STUDIES) == 1


def test_a_run_has_a_table_for_each_study_and_carries_out_those_that_are_there() -> None:
    tables = {kind.table: {} for kind in STUDIES}
    config = RunConfig.model_validate({"name": "x", "train": {}} | tables)
    assert [(kind, type(plan)) for kind, plan in config.studies] == [(kind, kind.plan) for kind in STUDIES]
    least = RunConfig.model_validate({"name": "x", "train": {}})
    assert [kind for kind, _ in least.studies] == [STUDIES[0]]


def test_a_result_of_a_version_without_kinds_is_read(tmp_path: Path) -> None:
    """As versions before `Study.kind` wrote it: the same fields without it, in another order."""
    result = make_result()
    fields = json.loads(result.model_dump_json(exclude={"kind"}))
    path = tmp_path / "result.json"
    path.write_text(json.dumps(dict(reversed(fields.items()))))
    assert read_study(path) == result
    path.write_text(result.model_dump_json())
    assert read_study(path) == result


def test_a_study_of_nothing_is_refused(tmp_path: Path) -> None:
    data = Dataset("none", np.zeros((1, 4), np.int8), np.zeros(1, np.int64), ("a", "b"), "steps", "none")
    for study, what in (
        (lambda: api.faults([], data, tmp_path), "bundle"),
        (lambda: api.transfer([], data, tmp_path), "bundle"),
        (lambda: api.privacy([], tmp_path), "training"),
    ):
        with pytest.raises(BadInputError, match=f"no {what} is given.*; give at least one"):
            study()


def test_a_study_that_is_not_known_is_named(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text('{"kind": "astrology"}')
    with pytest.raises(BadInputError, match="there is no study 'astrology'"):
        read_study(path)


def test_the_report_of_a_run_takes_in_the_studies_of_its_model_alone(tmp_path: Path) -> None:
    result, path = make_result(), tmp_path / "result.json"
    beside = tmp_path / "faults.json"
    ours, theirs = fault_result(result.provenance.model_sha256), fault_result("c" * 64)
    for study, taken in ((ours, [ours]), (theirs, [])):
        beside.write_text(study.model_dump_json())
        assert studies_beside(path, result) == taken
        assert studies_beside(beside, study) == []
    for foreign in ("{}", '{"kind": "robustness"}', "[1]", "no JSON"):
        beside.write_text(foreign)
        assert studies_beside(path, result) == []
    beside.write_text('{"kind": "faults"}')
    with pytest.raises(BadInputError, match=r"give a faults\.json as tritguard wrote it"):
        studies_beside(path, result)
    assert '<h2 id="faults">Bit flips in small</h2>' in to_html(result, [ours])
    assert "Bit flips" not in to_html(result)
    alone = to_html(ours)
    assert (
        "a" * 64 in alone
        and "d" * 64 in alone
        and ours.provenance.created in alone
        and ours.provenance.command in alone
    )
    assert len(to_terminal(result, [ours]).renderables) == 1 + len(to_terminal(result).renderables)


def test_bit_flips_whose_findings_were_deleted_are_refused() -> None:
    fields = fault_result("c" * 64).model_dump()
    assert FaultResult.model_validate(fields) == fault_result("c" * 64)
    with pytest.raises(ValueError, match=r"issues: the figures show NO_DEVICE \(warn\)"):
        FaultResult.model_validate(fields | {"issues": fields["issues"][1:]})
    with pytest.raises(ValueError, match=r"issues: nothing shows FEW_DRAWS"):
        FaultResult.model_validate(
            fields | {"issues": [*fields["issues"], fields["issues"][0] | {"code": "FEW_DRAWS"}]}
        )
    model = fields["models"][0]
    replay = {"board": "b", "build_id": "x", "weight_bytes": 1, "images": 1, "inputs": 9, "bytes_compared": 9}
    lie = fields | {"models": [model | {"replay": replay | {"mismatched_inputs": 1}}], "issues": fields["issues"][1:]}
    with pytest.raises(ValueError, match=r"issues: the figures show DEVICE_TWIN_MISMATCH \(invalid\)"):
        FaultResult.model_validate(lie)


def test_a_result_on_other_data_is_kept(tmp_path: Path) -> None:
    x, y = np.zeros((2, 4), np.int8), np.zeros(2, np.int64)
    data = Dataset("mine", x, y, ("a",), "steps", "none")
    path = tmp_path / "result.json"
    path.write_text(make_result().model_dump_json())
    result = make_result()
    same = {name: value for name, value in result.asked.items() if name != "data"}

    def asked(data: Dataset, replace: bool = False, **plan: object) -> None:
        keep_other_result(ROBUSTNESS, tmp_path, data, same | plan, [], replace=replace)

    with pytest.raises(BadInputError, match=r"of another run \(data: gsc_kws01 .* there, mine .* here\); give another"):
        asked(data)
    assert path.is_file()
    asked(data, replace=True)
    provenance = result.provenance.model_dump() | {"data_sha256": data.sha256, "data_name": "mine"}
    path.write_text(make_result(provenance=provenance).model_dump_json())
    asked(data)
    with pytest.raises(BadInputError, match=r"\(samples: \d+ there, 7 here; eps: \[.*\] there, \[1, 2\] here\)"):
        asked(data, samples=7, eps=[1, 2])


@pytest.mark.parametrize("content", ["{}", '{"kind": "robustness", "schema_version": 3}', "no JSON"])
def test_a_result_that_this_version_cannot_read_is_kept(content: str, small_bundle: Bundle, tmp_path: Path) -> None:
    """A later version may have written it, and nothing here can tell what it is of."""
    data = Dataset("mine", np.zeros((2, 4), np.int8), np.zeros(2, np.int64), ("a",), "steps", "none")
    path = tmp_path / "result.json"
    path.write_text(content)
    config = RunConfig.model_validate({"name": "n", "model": str(small_bundle.path), "data": "fashion-mnist"})
    for text in ("name = 'n'", ""):
        with pytest.raises(BadInputError, match=r"result.json: cannot be read as a result \(.*--replace"):
            api.run(config, tmp_path, text=text)
    with pytest.raises(BadInputError, match=r"cannot be read as a result"):
        keep_other_result(ROBUSTNESS, tmp_path, data, {}, [], replace=False)
    assert path.read_text() == content
    keep_other_result(ROBUSTNESS, tmp_path, data, {}, [], replace=True)


def test_a_result_tells_what_it_saw_and_where_it_ran() -> None:
    """Each of these alone makes it a result of another run; what a version did not write down does not."""
    firmware, threat = make_result().firmware.model_dump(), make_result().threat_model.model_dump()
    found = {"low": 0.0, "high": 255.0, "low_step": -128, "high_step": 127}
    result = make_result(
        firmware=firmware | {"emulated": False}, threat_model=threat | {"access": "scores", "data_range": found}
    )
    same = stated(result)
    assert not differing(result, same)
    for other in (runs_on(firmware["board"], None), runs_on("netduinoplus2", "auto"), {"access": "labels"}):
        assert len(differing(result, same | other)) == 1
    for data_range in ("none", "0,254"):
        assert differing(result, same | {"data-range": data_range}) == {"data-range": ("0,255", data_range)}
    assert not differing(make_result(), make_result().asked | {"access": "labels"})


def test_a_plan_is_what_its_result_states() -> None:
    """So that the same command in the same folder replaces its own result."""
    data = Dataset("mine", np.zeros((2, 4), np.uint8), np.zeros(2, np.int64), ("a",), "pixels", "none")
    plan = Plan(samples=7, eps=(1, 8), access="scores", data_range=(0, 128.5), attacks=("noise", "square"))
    will = attacks_by(plan, 5, data, live=False)
    assert (will["data-range"], will["access"]) == ("0,128.5", "scores")
    assert {name for name in stated(make_result()) if name not in will} == {"data", "board", "emulated"}
    assert set(will) - set(make_result().asked) == {"access"}
    assert will.items() >= attacks_by(plan, 5, None, live=False).items()


def test_a_result_of_another_model_or_plan_is_kept(small_bundle: Bundle, small_build: Build, tmp_path: Path) -> None:
    """Found before anything is started."""
    data = Dataset("mine", inputs(small_bundle, 2), np.zeros(2, np.int64), ("a",), "steps", "none")
    (tmp_path / "result.json").write_text(make_result().model_dump_json())
    (tmp_path / "faults.json").write_text(fault_result("a" * 64).model_dump_json())
    with pytest.raises(BadInputError, match=r"result.json: is the .*data: .*samples: .*model: .*--replace"):
        api.attack(small_bundle, small_build, data, tmp_path, plan=Plan(samples=2))
    with pytest.raises(BadInputError, match=r"faults.json: is the .*data: .*samples: .*model: aaaaaaaaaaaa there"):
        api.faults([(small_bundle, None)], data, tmp_path, plan=FaultPlan(samples=1))
    config = RunConfig.model_validate({"name": "n", "model": str(small_bundle.path), "data": "fashion-mnist"})
    with pytest.raises(BadInputError, match=r"result.json: is no run's result; give another folder, or --replace"):
        api.run(config, tmp_path, text="name = 'n'")
    assert (tmp_path / "result.json").exists() and (tmp_path / "faults.json").exists()


def test_a_run_keeps_the_result_of_another_board_or_plan(small_bundle: Bundle, tmp_path: Path) -> None:
    """The board and the port may be the command line's, and no part of the configuration's text."""
    text, result = "name = 'n'", make_result()
    firmware, told = result.firmware.model_dump(), result.provenance.model_dump() | {"configuration": text}
    settings = {"name": "n", "model": str(small_bundle.path), "data": "fashion-mnist", "board": "mps2-an386"}

    def refused(message: str, text: str, **others: object) -> None:
        with pytest.raises(BadInputError, match=message):
            api.run(RunConfig.model_validate(settings | others), tmp_path, text=text)

    path = tmp_path / "result.json"
    path.write_text(make_result(provenance=told).model_dump_json())
    refused(r"\(board: mps2-an386 there, netduinoplus2 here\); give another folder", text, board="netduinoplus2")
    refused(r"\(emulated: True there, False here\)", text, port="auto")
    refused(r"name: dscnn_int8 there, n here; .*samples: 300 there, 100 here", "")
    path.write_text(make_result(provenance=told, firmware=firmware | {"emulated": False}).model_dump_json())
    refused(r"\(emulated: False there, True here\)", text)
    assert path.exists()


def test_an_older_result_stays_until_a_new_one_is_there(small_bundle: Bundle, tmp_path: Path) -> None:
    """An interrupted study gives it back, a failed one leaves it under a name that is not its own."""
    new, kind = fault_result("a" * 64), kind_of(fault_result("a" * 64))

    def held() -> dict[str, str]:
        return {path.name: path.read_text()[:5] for path in tmp_path.iterdir() if path.suffix in (".json", ".html")}

    def ends(error: BaseException | None) -> dict[str, str]:
        def study(_stages: Stages) -> FaultResult:
            assert not (tmp_path / kind.file).exists()  # nor is it taken for what is being made
            if error is not None:
                raise error
            return new

        with suppress(DeviceError, KeyboardInterrupt, SystemExit):
            carry_out_watched(kind, tmp_path, study, silent)
        return held()

    for path in (tmp_path / "faults.json", tmp_path / "faults.html"):
        path.write_text("older")
    there = {"faults.json": "older", "faults.html": "older"}
    assert held() == ends(KeyboardInterrupt()) == ends(SystemExit(143)) == there
    aside = {f"earlier-{name}": text for name, text in there.items()}
    assert ends(DeviceError("unplugged")) == ends(KeyboardInterrupt()) == ends(DeviceError("again")) == aside
    assert ends(None).keys() == there.keys() and read_study(tmp_path / "faults.json") == new

    class Interrupted(Watcher):
        def stage(self, name: str) -> Progress:
            assert not (tmp_path / "result.json").exists()
            raise KeyboardInterrupt

    older = make_result().model_dump_json()
    (tmp_path / "result.json").write_text(older)
    config = RunConfig.model_validate({"name": "n", "model": str(small_bundle.path), "data": "fashion-mnist"})
    with pytest.raises(KeyboardInterrupt):
        api.run(config, tmp_path, Interrupted(), replace=True)
    assert (tmp_path / "result.json").read_text() == older


def test_reports_are_written_beside_their_results() -> None:
    result, faults = make_result(), fault_result("a" * 64)
    assert kind_of(result).report_beside(Path("out/first.json")) == Path("out/report.html")
    assert kind_of(faults).report_beside(Path("out/first.json")) == Path("out/first.html")


ROOMS = [PACKAGE / "evaluate" / kind.name for kind in STUDIES]  # held apart by tests/test_architecture.py
ELSEWHERE = [path for path in sorted(PACKAGE.rglob("*.py")) if not any(room in path.parents for room in ROOMS)]

# The registry, and the functions that offer a study to users, as a verb of its own does.
LISTS = {("evaluate", "registry"), ("api", "studies"), ("api", "__init__")}


def lines_that_know_a_study(path: Path) -> Iterator[int]:
    """Lines that compare with a study's name, or import one that does not lead the run; not in its files and verb."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    others = {kind.name: kind for kind in STUDIES if kind.name not in parts and kind.table != parts[-1]}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare):
            compared = {leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant)}
            if compared & set(others):
                yield node.lineno
        if isinstance(node, ast.ImportFrom) and parts not in LISTS:
            room = (node.module or "").removeprefix("tritguard.evaluate.").split(".")[0]
            if room in others and not others[room].leads:
                yield node.lineno


def test_only_its_own_files_know_a_study() -> None:
    found = [f"{path.relative_to(PACKAGE)}:{line}" for path in ELSEWHERE for line in lines_that_know_a_study(path)]
    assert not found


def test_a_study_that_is_added_to_a_configuration_replaces_no_result() -> None:
    """What was changed besides is named, also where an older file states no TOML at all."""
    stated = 'name = "x"\n[train]\ndata = "a"\n[attack]\nsamples = 10\n'
    assert _other_keys(stated, stated + "[faults]\n[corruptions]\nsamples = 3\n") == []
    assert _other_keys(stated, stated.replace("10", "11").replace('"x"', '"y"')) == ["attack", "name"]
    assert _other_keys("name = [", stated) == ["all of it"]
