"""The test set on the device: the figures, their labels, and what makes them doubtful."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from tests.support.device_support import inputs
from tests.support.robustness_result import make_result
from tests.support.schemas import assert_conforms
from tritguard import api
from tritguard.build import Build
from tritguard.cli import app
from tritguard.data import Dataset, write_dataset
from tritguard.emit import Bundle
from tritguard.evaluate.deployment.checks import check
from tritguard.evaluate.deployment.result import DeploymentResult, OracleComparison
from tritguard.evaluate.samples import class_names
from tritguard.evaluate.study import Confirmation, Rate
from tritguard.report.registry import to_html
from tritguard.report.wording import status_meaning
from tritguard.twin import Twin

pytest_plugins = ("tests.support.device_fixtures",)

SAMPLES, WRONG = 150, 30


@pytest.fixture(scope="module")
def labelled(small_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Dataset]:
    """Noise with the twin's labels, of which the first are made wrong."""
    x = inputs(small_bundle, SAMPLES)
    labels = Twin(small_bundle).predict(x).labels
    labels[:WRONG] = (labels[:WRONG] + 1) % 5
    data = Dataset("noise", x, labels, tuple("abcde"), "steps", "none")
    path = tmp_path_factory.mktemp("labelled") / "data.npz"
    write_dataset(path, data)
    return path, data


@pytest.fixture(scope="module")
def result(
    small_bundle: Bundle,
    small_build: Build,
    labelled: tuple[Path, Dataset],
    tmp_path_factory: pytest.TempPathFactory,
) -> DeploymentResult:
    """As the verb leaves it, with its report."""
    pytest.importorskip("tflite_micro", reason="needs the extra 'oracle'")
    out = tmp_path_factory.mktemp("deployment")
    arguments = ["evaluate", str(small_bundle.path), str(small_build.path), "-d", str(labelled[0]), "-o", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "80.0 %" in done.output and "cycles, ESTIMATED" in done.output
    page = (out / "deployment.html").read_text()
    assert "120 of 150" in page and "instructions, exact" in page
    assert_conforms(out / "deployment.json", "deployment")
    refused = CliRunner().invoke(app, [*arguments, "--port", "auto"])
    assert "(emulated: True there, False here)" in str(refused.exception)
    found = api.read_study(out / "deployment.json")
    assert isinstance(found, DeploymentResult)
    return found


def test_a_valid_one_is_quoted_without_a_threat_model(result: DeploymentResult) -> None:
    meaning = status_meaning(result.model_copy(update={"status": "valid", "issues": ()}))
    assert "how they were measured" in meaning and "threat model" not in meaning
    assert "threat model" in status_meaning(make_result())


def test_the_whole_test_set_was_counted(
    result: DeploymentResult, small_bundle: Bundle, labelled: tuple[Path, Dataset]
) -> None:
    # On noise the net says nearly always the same.
    assert [issue.code for issue in result.issues] == ["ACCURACY_AT_CHANCE"]
    assert (result.accuracy.k, result.accuracy.n) == (SAMPLES - WRONG, SAMPLES)
    truth, said = labelled[1].y_test, Twin(small_bundle).predict(labelled[1].x_test).labels
    for row in range(5):
        for column in range(5):
            assert result.confusion[row][column] == int(((truth == row) & (said == column)).sum())
    assert result.provenance.sample_indices == tuple(range(SAMPLES))


def test_the_bytes_were_compared_with_both(result: DeploymentResult) -> None:
    seen, oracle = result.confirmation, result.oracle
    assert (seen.inputs, seen.mismatched_inputs, seen.bytes_compared) == (SAMPLES, 0, SAMPLES * (5 + 4 * 5))
    assert oracle == OracleComparison(inputs=SAMPLES, bytes_compared=SAMPLES * 5, mismatched_inputs=0)


def test_the_time_is_labelled(result: DeploymentResult) -> None:
    latency = result.latency
    assert result.firmware.emulated and latency.instructions is not None and latency.cycles_estimated is not None
    assert latency.ticks_p99 is not None
    assert latency.ticks_min <= latency.ticks_median <= latency.ticks_p99 <= latency.ticks_max
    assert "static cortex-m4 model" in (latency.cycles_method or "")
    real = result.model_copy(
        update={
            "firmware": result.firmware.model_copy(update={"emulated": False}),
            "latency": latency.model_copy(
                update={"instructions": None, "cycles_estimated": None, "cycles_method": None}
            ),
        }
    )
    page = to_html(real)
    assert "ms, measured" in page and "ESTIMATED" not in page and "instructions, exact" not in page


def test_many_classes_show_their_confusions_alone(result: DeploymentResult) -> None:
    confusion = np.diag([10] * 30)
    confusion[3, 4], confusion[7, 2] = 5, 2
    many = result.model_copy(
        update={
            "classes": tuple(f"class-{label}" for label in range(30)),
            "confusion": tuple(map(tuple, confusion.tolist())),
        }
    )
    page = to_html(many)
    assert "The most frequent confusions" in page
    assert page.index(">class-3<", page.index("frequent")) < page.index(">class-7<", page.index("frequent"))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("confusion", [[30, 0, 0, 0, 0]], "is not a table of 5 by 5"),
        ("accuracy", Rate.of(121, 150).model_dump(), "121 of 150, the confusion has 120 of 150"),
        ("status", "valid", "its issues make it degraded"),
        ("oracle", None, r"issues: the figures show NO_ORACLE \(warn\), but issues does not hold it"),
    ],
)
def test_a_result_that_contradicts_itself_is_refused(
    field: str, value: object, words: str, result: DeploymentResult
) -> None:
    fields = json.loads(result.model_dump_json())
    with pytest.raises(ValidationError, match=words):
        DeploymentResult.model_validate(fields | {field: value})


def test_doubts_have_codes() -> None:
    seen = Confirmation(inputs=50, bytes_compared=1250, mismatched_inputs=1, resent_frames=0, seconds=1.0)
    other = OracleComparison(inputs=50, bytes_compared=250, mismatched_inputs=2)
    found = list(check(Rate.of(20, 50), 0.4, seen, other))
    assert {issue.code: issue.severity for issue in found} == {
        "DEVICE_TWIN_MISMATCH": "invalid", "DEVICE_ORACLE_MISMATCH": "invalid", "FEW_SAMPLES": "warn",
        "ACCURACY_AT_CHANCE": "warn",
    }  # fmt: skip
    fine = seen.model_copy(update={"inputs": 200, "mismatched_inputs": 0})
    assert [issue.code for issue in check(Rate.of(180, 200), 0.4, fine, None)] == ["NO_ORACLE"]


def test_classes_that_nobody_names_have_numbers(small_bundle: Bundle, small_build: Build, tmp_path: Path) -> None:
    """The data may name fewer classes than the model has outputs, or more."""
    x, labels = inputs(small_bundle, 20), np.arange(20) % 2
    few = Dataset("few", x, labels, ("no", "yes"), "steps", "none")
    found = api.evaluate(small_bundle, small_build, few, tmp_path / "few")
    assert found.classes == ("no", "yes", "2", "3", "4")
    many = Dataset("many", x, labels, tuple("abcdefg"), "steps", "none")
    assert class_names(small_bundle.manifest, many) == tuple("abcde")
