"""Edited results: what was changed by hand is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.support.robustness_result import CLASSES, EPS, N, held, make_result, picture
from tritguard.cli import app
from tritguard.errors import BadInputError
from tritguard.evaluate.faults.result import FaultDraw, FaultPoint
from tritguard.evaluate.registry import read_study
from tritguard.evaluate.robustness.result import RobustnessResult
from tritguard.evaluate.robustness.table import HELD, Outcomes, SampleTable, count, to_bits, to_flags
from tritguard.evaluate.study import Rate, StudyProvenance
from tritguard.evaluate.transfer.result import TransferResult
from tritguard.report.registry import to_html

Fields = dict[str, Any]


def rate(k: int, n: int = N) -> Fields:
    return Rate.of(k, n).model_dump()


def full_result() -> RobustnessResult:
    """With a control, of which a few samples hold; twice the steps break one of the two samples that held at 4."""
    base = make_result().model_dump()
    doubled = [row for row in base["samples"]["doubled"] if row["eps_steps"] < 4]
    table = base["samples"] | {"doubled": [*doubled, {"attack": "PGD", "eps_steps": 4, "broken": held(1)}]}
    last = [row for row in base["samples"]["attacks"] if row["eps_steps"] <= 4]
    threat = base["threat_model"] | {"eps_steps": [1, 2, 4], "eps_input": base["threat_model"]["eps_input"][:3]}
    curve = [point for point in base["curve"] if point["eps_steps"] <= 4]
    curve[2] = curve[2] | {"robust": rate(1)}
    control = {"name": "plain", "model_sha256": "c" * 64, "eps_steps": 4, "clean": rate(276), "robust": rate(20)}
    return make_result(
        threat_model=threat,
        curve=curve,
        attacks=[row for row in base["attacks"] if row["eps_steps"] <= 4],
        samples=table | {"attacks": last},
        doubling=[*base["doubling"][:2], base["doubling"][2] | {"broken": 1}],
        control=control | {"samples": {"right": held(276), "held": held(20)}},
        throughput={"workers": 1, "jobs": 8, "reused": 0, "seconds": 1, "queries": 9, "gradients": 9},
        pictures=[picture((28, 28, 1), eps=2)],
    )


def set_in(fields: Any, path: str, value: object) -> None:
    *parents, last = path.split(".")
    for name in parents:
        fields = fields[int(name) if isinstance(fields, list) else name]
    fields[int(last) if isinstance(fields, list) else last] = value


def flipped(bits: str, place: int) -> str:
    return bits[:place] + "10"[int(bits[place])] + bits[place + 1 :]


WHOLE = json.loads(full_result().model_dump_json())
BROKEN = WHOLE["samples"]["attacks"][0]["broken"]
MISMATCH = {"code": "DEVICE_TWIN_MISMATCH", "severity": "invalid", "message": "2 inputs"}
WARNING = {"code": "FEW_SAMPLES", "severity": "warn", "message": "only a few"}

# What is edited, to what, and what the refusal says.
EDITED: dict[str, tuple[Fields, str]] = {
    "curve": ({"curve.0.robust": rate(270)}, r"curve\.0\.robust: 270 of 300 stated, its samples give 104 of 300"),
    "headline": ({"curve.2.robust": rate(2)}, r"curve\.2\.robust: 2 of 300 stated, its samples give 1 of 300"),
    "row": ({"attacks.0.robust": rate(105)}, r"attacks\.0\.robust: 105 of 300 stated, its samples give 104 of 300"),
    "clean": ({"clean": rate(300)}, r"clean: 300 of 300 stated, its samples give 276 of 300"),
    "row and curve": (
        {"attacks.0.robust": rate(270), "curve.0.robust": rate(270)},
        r"attacks\.0\.robust: 270 of 300 stated, its samples give 104",
    ),
    "one bit of the table": (
        {"samples.attacks.0.broken": flipped(BROKEN, 200)},
        r"attacks\.0\.robust: 104 of 300 stated, its samples give 105",
    ),
    "a clean label": ({"samples.clean.0": 0}, r"clean: 276 of 300 stated, its samples give 277"),
    "a row of the table left out": (
        {"samples.attacks": WHOLE["samples"]["attacks"][1:]},
        r"samples\.attacks: .* PGD at eps 1 in only one of the two",
    ),
    "rows of the table exchanged": ({"samples.attacks": WHOLE["samples"]["attacks"][::-1]}, "in another order"),
    "a row shorter": ({"samples.attacks.0.broken": BROKEN[1:]}, r"attacks\.0\.broken has 299 samples, labels has 300"),
    "no digits": ({"samples.attacks.0.broken": "2" * N}, r"samples\.attacks\.0\.broken: String should match"),
    "table left out": ({"samples": None}, "samples: missing, schema version 2 has them"),
    "sample left out": (
        {"provenance.sample_indices": list(range(N - 1))},
        r"clean: is of 300 samples, provenance\.sample_indices has 299",
    ),
    "fewer samples": ({"clean": rate(276, 290)}, r"clean: is of 290 samples, provenance\.sample_indices has 300"),
    "status": ({"status": "degraded"}, "status is degraded, its issues make it valid"),
    "issue without its status": ({"issues": [WARNING]}, "status is valid, its issues make it degraded"),
    "interval": (
        {"clean": rate(276) | {"low": 0.9}},
        r"clean: the interval of 276 of 300 is 0\.9000 to .*, Wilson's is 0\.883",
    ),
    "interval of the whole data set": ({"clean_full": rate(901, 1000) | {"high": 1.0}}, r"clean_full: the interval"),
    "more than all": ({"clean.k": 301}, "clean: 301 of 300"),
    "eps of the curve": ({"curve.1.eps_steps": 3}, r"curve: has eps \[1, 3, 4\], the attacks ran at \[1, 2, 4\]"),
    "order of the curve": ({"curve": WHOLE["curve"][::-1]}, r"curve: eps \[4, 2, 1\] do not rise"),
    "eps of the threat model": ({"threat_model.eps_steps": [1, 2, 8]}, r"threat_model\.eps_steps: \[1, 2, 8\]"),
    "one bound fewer": ({"threat_model.eps_input": [0.584]}, r"eps_input: 1 bounds, eps_steps has 3"),
    "eps in input units": ({"curve.0.eps_input": 5.0}, r"curve\.0\.eps_input: 5, the threat model has 0\.584"),
    "eps of a row": ({"attacks.0.eps_steps": 2}, r"samples\.attacks: .* PGD at eps 2 in only one of the two"),
    "unknown issue": (
        {"issues": [WARNING | {"code": "ALL_IS_WELL"}], "status": "degraded"},
        r"issues\.0\.code: there is no check 'ALL_IS_WELL'",
    ),
    "milder issue": (
        {"issues": [MISMATCH | {"severity": "warn"}], "status": "degraded", "confirmation.mismatched_inputs": 2}
        | {"passed": []},
        r"issues\.0\.severity: warn, but DEVICE_TWIN_MISMATCH is always invalid",
    ),
    "unknown passed": ({"passed": ["ALL_IS_WELL"]}, r"passed\.0: there is no check 'ALL_IS_WELL'"),
    "unknown unmade": (
        {"unmade": [{"code": "ALL_IS_WELL", "reason": "x"}]},
        r"unmade\.0\.code: there is no check 'ALL_IS_WELL'",
    ),
    "passed and not made": (
        {"unmade": [{"code": "NONDETERMINISTIC", "reason": "x"}]},
        r"unmade\.0: NONDETERMINISTIC was not made, but issues or passed holds it too",
    ),
    "passed twice": ({"passed": ["NO_CONTROL", "NO_CONTROL"]}, r"passed\.1: NO_CONTROL is listed twice"),
    "passed and failed": (
        {"issues": [WARNING], "status": "degraded", "passed": ["FEW_SAMPLES"]},
        r"passed\.0: FEW_SAMPLES passed, but issues holds it too",
    ),
    "mismatches hidden": (
        {"confirmation.mismatched_inputs": 2},
        r"mismatched_inputs: 2, but issues do not hold DEVICE_TWIN_MISMATCH",
    ),
    "control": ({"control.robust": rate(0)}, r"control\.robust: 0 of 300 stated, its samples give 20 of 300"),
    "control's clean": ({"control.clean": rate(299)}, r"control\.clean: 299 of 300 stated, its samples give 276"),
    "control's samples": ({"control.samples": None}, r"control\.samples: missing"),
    "control's size": ({"control.samples.held": "0"}, r"control\.samples\.held: is of 1 samples"),
    "doubling": ({"doubling.2.broken": 0}, r"doubling at eps 4: 0 of 2 broken stated, its samples give 1 of 2"),
    "doubling left out": ({"doubling": []}, r"doubling: nothing at eps 1, but samples\.doubled has outcomes"),
    "doubling of another": ({"doubling.2.attack": "FGSM"}, r"is of PGD at eps 4, doubling is of FGSM"),
    "fidelity left out": (
        {"symptoms.fidelity": []},
        r"symptoms\.fidelity: of eps \[\], the attacks ran at \[1, 2, 4\]",
    ),
    "fidelity of fewer": ({"symptoms.fidelity.1.left": 1}, r"fidelity at eps 2: 1 samples left, the curve has"),
    "repairs that no attack made": (
        {"symptoms.fidelity.1.repaired": True},
        r"fidelity at eps 2: repaired, but no attack followed repaired gradients there",
    ),
    "no repair in an Lp ball": ({"symptoms.fidelity.1.failed": True}, r"fidelity at eps 2: failed but not repaired"),
    "fidelity that cannot be": ({"symptoms.fidelity.0.lost": 1}, r"fidelity at eps 1: 1 lost of .* left, 0 astray of"),
    "doubling twice": ({"doubling.2.eps_steps": 2}, r"doubling: at eps \[1, 2, 2\], not once each"),
    "picture's label": ({"pictures.0.label": 0}, r"pictures\.0: label and clean prediction are \(0, 11\), its sample"),
    "picture's sample": ({"pictures.0.sample": 300}, r"pictures\.0\.sample: 300 is not among the samples"),
    "picture's attack": ({"pictures.0.attack": "Boundary"}, r"pictures\.0: Boundary at eps 2 did not break sample 299"),
    "no symptoms": ({"symptoms": None}, "symptoms: missing, schema version 2 has them"),
    "what leads an attack": ({"attacks.0.follows": None}, r"attacks\.0\.follows: missing"),
    "a check of the data left out": ({"data_checks": {}}, "data_checks: CLASSES_MISSING is missing"),
    "a passed check left out": ({"passed": WHOLE["passed"][1:]}, "passed: .* passes, but is not listed"),
    "an issue that nothing shows": (
        {
            "issues": [WARNING],
            "status": "degraded",
            "passed": [code for code in WHOLE["passed"] if code != "FEW_SAMPLES"],
        },
        "issues: nothing shows FEW_SAMPLES, but issues holds it",
    ),
    "nothing attacked": (
        {"curve": [], "attacks": [], "samples.attacks": [], "threat_model.eps_steps": [], "threat_model.eps_input": []},
        "curve: is empty",
    ),
}

# What speaks against a result, and is then deleted together with its effect on the status.
SPOILED: dict[str, Fields] = {
    "NONDETERMINISTIC": {"symptoms.unsteady_inputs": 3},
    "BOARDS_DISAGREE": {"confirmation.quarantined": [{"board": "COM1", "reason": "other bytes", "disagreed": True}]},
    "ZERO_GRADIENTS": {"symptoms.zero_gradients": 0.5},
    "SATURATED_LOGITS": {"symptoms.saturated": 0.5},
    "SCORE_PLATEAUS": {"symptoms.plateaus": 0.5},
    "SOFTMAX_HEAD": {"symptoms.shown": "scores", "symptoms.softmax_head": True},
    "NO_CONTROL": {"symptoms.control_guesses": True},
    "INPUTS_CLIPPED": {"data_checks.INPUTS_CLIPPED": 0.5},
    "DUPLICATE_INPUTS": {"data_checks.DUPLICATE_INPUTS": 0.1},
}


@pytest.mark.parametrize("code", SPOILED)
def test_a_finding_deleted_together_with_its_status_is_found(code: str, tmp_path: Path) -> None:
    fields, path = json.loads(json.dumps(WHOLE)), tmp_path / "result.json"
    for where, value in SPOILED[code].items():
        set_in(fields, where, value)
    path.write_text(json.dumps(fields))
    with pytest.raises(BadInputError, match=r"issues: the figures show \w+, but issues does not hold it"):
        read_study(path)


def test_attacks_left_out_everywhere_leave_little_evidence(tmp_path: Path) -> None:
    """Noise and FGSM alone would be valid, if only the issues were believed."""
    fields, path = json.loads(json.dumps(WHOLE)), tmp_path / "result.json"
    for rows in (fields["attacks"], fields["samples"]["attacks"]):
        rows[:] = [row for row in rows if row["attack"] not in ("HopSkipJump", "Square")]
    path.write_text(json.dumps(fields))
    with pytest.raises(BadInputError, match="the figures show LITTLE_EVIDENCE"):
        read_study(path)


@pytest.mark.parametrize("name", EDITED)
def test_an_edited_result_is_refused_by_field_and_values(name: str, tmp_path: Path) -> None:
    edits, message = EDITED[name]
    fields, path = json.loads(json.dumps(WHOLE)), tmp_path / "result.json"
    for where, value in edits.items():
        set_in(fields, where, value)
    path.write_text(json.dumps(fields))
    with pytest.raises(BadInputError, match=message) as refused:
        read_study(path)
    assert str(path) in str(refused.value)


def test_what_is_not_edited_comes_back_the_same(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    of_data = make_result(data_checks=make_result().data_checks | {"INPUTS_CLIPPED": 0.5})
    assert of_data.status == "invalid" and of_data.issues[-1].code == "INPUTS_CLIPPED"
    for result in (full_result(), make_result(), of_data):
        path.write_text(result.model_dump_json())
        assert read_study(path) == result


def test_a_result_from_before_a_check_was_made_is_read(tmp_path: Path) -> None:
    """Versions before BOARDS_DISAGREE neither list it nor say of a board why it is asked no more."""
    fields, path = json.loads(json.dumps(WHOLE)), tmp_path / "result.json"
    fields["passed"].remove("BOARDS_DISAGREE")
    set_in(fields, "confirmation.quarantined", [{"board": "COM1", "reason": "connection broke"}])
    path.write_text(json.dumps(fields))
    assert read_study(path).status == make_result().status


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_the_report_of_an_edited_curve_is_not_written(options: list[str], tmp_path: Path) -> None:
    """Rows that leave 35 % under a curve that says 90 %, as it was printed before: VALID, robust accuracy 90.0 %."""
    fields = json.loads(json.dumps(WHOLE))
    set_in(fields, "curve.2.robust", rate(270))
    (tmp_path / "result.json").write_text(json.dumps(fields))
    outcome = CliRunner().invoke(app, ["report", str(tmp_path), *options])
    assert isinstance(outcome.exception, BadInputError) and "curve.2.robust: 270 of 300" in str(outcome.exception)
    assert "90.0 %" not in outcome.output and not (tmp_path / "report.html").exists()


def old_version(**changes: Any) -> Fields:
    """A file as versions wrote it whose results had no samples."""
    fields: Fields = json.loads(json.dumps(WHOLE)) | {"schema_version": 1}
    del fields["samples"], fields["control"]["samples"], fields["throughput"]["refused"]
    return fields | changes


def test_a_result_without_samples_is_read_and_marked(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(old_version()))
    result = read_study(path)
    assert isinstance(result, RobustnessResult)
    assert (result.status, [issue.code for issue in result.issues]) == ("degraded", ["NO_SAMPLE_TABLE"])
    assert "cannot be recomputed" in to_html(result)
    path.write_text(result.model_dump_json())
    assert read_study(path) == result  # marked once


def test_a_mark_makes_no_old_result_better(tmp_path: Path) -> None:
    path, issues = tmp_path / "result.json", [MISMATCH]
    seen = WHOLE["confirmation"] | {"mismatched_inputs": 2}
    path.write_text(json.dumps(old_version(status="invalid", issues=issues, confirmation=seen, passed=[])))
    assert read_study(path).status == "invalid"
    path.write_text(json.dumps(old_version(status="valid", issues=issues, confirmation=seen, passed=[])))
    with pytest.raises(BadInputError, match="status is valid"):
        read_study(path)


@pytest.mark.parametrize("correct", [0, 19, 270])
def test_a_curve_that_no_samples_could_give_is_refused_without_them_too(correct: int, tmp_path: Path) -> None:
    """At eps 2 PGD leaves 18 of 300, so that the curve can have no more; nor less than both attacks could take."""
    fields, path = old_version(), tmp_path / "result.json"
    set_in(fields, "curve.1.robust", rate(correct))
    if correct == 0:  # what is lost in all is then 276 - 274, and what the curve loses 276
        fields["attacks"] = [row | {"robust": rate(274)} for row in fields["attacks"] if row["attack"] == "PGD"]
        fields["curve"] = [point | {"robust": rate(0)} for point in fields["curve"]]
    path.write_text(json.dumps(fields))
    with pytest.raises(
        BadInputError, match=rf"curve\.[01]\.robust: {correct} of 300 stated, the attacks' own rows give"
    ):
        read_study(path)


bits = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 2), min_size=n, max_size=n),
        st.lists(st.tuples(st.sampled_from([1, 2, 4, 9]), st.text("01", min_size=n, max_size=n)), max_size=6),
        st.text("01", min_size=n, max_size=n),
    )
)


@given(bits)
def test_figures_are_what_their_definitions_say(drawn: tuple[list[int], list[tuple[int, str]], str]) -> None:
    clean, rows, again = drawn
    n = len(clean)
    attacks = tuple(Outcomes(attack=f"a{k}", eps_steps=eps, broken=row) for k, (eps, row) in enumerate(rows))
    doubled = Outcomes(attack="again", eps_steps=2, broken=again)
    found = count(SampleTable(labels=(1,) * n, clean=tuple(clean), attacks=attacks, doubled=(doubled,)))
    right = [label == 1 for label in clean]
    assert found.clean == Rate.of(sum(right), n)
    assert list(found.rows) == [Rate.of(sum(right[i] and row[i] == "0" for i in range(n)), n) for _, row in rows]

    def holds(i: int, eps: int, more: list[tuple[int, str]]) -> bool:
        return right[i] and all(row[i] == "0" for at, row in [*rows, *more] if at <= eps)

    assert found.curve == {
        eps: Rate.of(sum(holds(i, eps, [(2, again)]) for i in range(n)), n) for eps in sorted({eps for eps, _ in rows})
    }
    before = [i for i in range(n) if holds(i, 2, [])]
    assert found.doubled[2] == (len(before), sum(again[i] == "1" for i in before))
    for i, (eps, by) in enumerate(zip(found.first.tolist(), found.by.tolist(), strict=True)):
        assert (by >= 0) == (0 < eps < HELD) and (eps > 0) == right[i]
        if by >= 0:
            assert [*rows, (2, again)][by][0] == eps and [*rows, (2, again)][by][1][i] == "1"
            assert holds(i, eps - 1, [(2, again)])


@given(st.lists(st.booleans()))
def test_bits_keep_every_flag(flags: list[bool]) -> None:
    assert to_flags(to_bits(np.array(flags, bool))).tolist() == flags


def test_other_studies_refuse_edited_figures() -> None:
    draws = (FaultDraw(seed=0, accuracy=Rate.of(3, 10)), FaultDraw(seed=1, accuracy=Rate.of(5, 10)))
    point = FaultPoint.of("random", 4, draws)
    assert FaultPoint.model_validate_json(point.model_dump_json()) == point
    with pytest.raises(ValueError, match=r"mean of 4 flips \(random\): 0\.9, its draws give 0\.4"):
        FaultPoint.model_validate(point.model_dump() | {"mean": 0.9})


def transfer_result(**changes: Any) -> TransferResult:
    parties = [
        {"name": name, "form": form, "sha256": name * 64, "clean": rate(276)}
        for name, form in (("a", "float"), ("b", "int8"))
    ]
    cell = {"eps_steps": 4, "source": 0, "accuracy": rate(90), "transferred": None}
    apart = {"eps_steps": 4, "deployed": 1, "keeper": 0, "fooled": rate(5, 20), "crafted_alone": rate(3, 20)}
    fields: Fields = {
        "status": "valid",
        "issues": [],
        "provenance": make_result().provenance.model_dump(include=set(StudyProvenance.model_fields)),
        "plan": {"eps": [4]},
        "input_unit": "pixel/255",
        "eps_input": [4.0],
        "parties": parties,
        "cells": [cell | {"target": target} for target in (0, 1)],
        "apart": [apart],
    }
    for path, value in changes.items():
        set_in(fields, path.replace("__", "."), value)
    return TransferResult.model_validate(fields)


def test_a_study_of_transfer_has_rows_of_its_models_and_samples_alone() -> None:
    assert transfer_result().models_sha256 == {"a" * 64, "b" * 64}
    for path, value, message in (
        ("cells__0__target", 2, r"cells\.0\.target: there is no party 2, parties has 2"),
        ("apart__0__keeper", -1, r"apart\.0\.keeper: there is no party -1"),
        ("cells__0__accuracy", rate(9, 10), r"cells\.0\.accuracy: is of 10 samples"),
    ):
        with pytest.raises(ValueError, match=message):
            transfer_result(**{path: value})


def test_a_study_of_transfer_whose_findings_were_deleted_is_refused() -> None:
    own = {"eps_steps": 4, "source": 1, "target": 1, "accuracy": rate(250), "transferred": None}
    cells = [own, own | {"source": 0, "accuracy": rate(90)}]
    cells += [cell | {"target": 0} for cell in cells]
    drift = {"deployed": 1, "keeper": 0, "samples": 300, "differing": 20, "indices": []}
    drift |= {"towards": [0, 20], "runner_up": [15, 5]}
    patch = {"deployed": 1, "keeper": 0, "wanted": 1, "row": 0, "column": 0, "height": 3, "width": 3}
    for changes, code in (
        ({"cells": cells}, "TRANSFER_BEATS_WHITE_BOX"),
        ({"plan": {"samples": 99, "eps": [4]}}, "FEW_SAMPLES"),
        ({"classes": ["a", "b"], "drift": [drift]}, "DRIFT_TOWARDS_CLASS"),
        ({"classes": ["a", "b"], "triggered": [patch | {"fooled": rate(99, 100)}]}, "TRIGGER_WAKES_WHEN_DEPLOYED"),
        ({"classes": ["a"]}, "CLEAN_AT_CHANCE"),
        ({"classes": ["a"], "drift": [drift]}, "is of 2 classes, classes has 1"),
        ({"classes": ["a"], "triggered": [patch | {"fooled": rate(9, 10)}]}, "there is no class 1"),
    ):
        with pytest.raises(ValueError, match=code):
            transfer_result(**changes)
    found = {"code": "TRANSFER_BEATS_WHITE_BOX", "severity": "warn", "message": ""}
    assert transfer_result(cells=cells, issues=[found], status="degraded").cells[0].source == 1


def test_the_makers_of_tests_agree_with_themselves() -> None:
    result = make_result()
    assert result.samples is not None
    assert {eps: rate.k for eps, rate in count(result.samples).curve.items()} == EPS | {64: 0}
    assert max(result.samples.labels) < CLASSES
