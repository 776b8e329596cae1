"""Common corruptions: what they do to inputs, and the study that gives them to a device."""

from __future__ import annotations

import base64
import colorsys
import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from tests.support.device_support import inputs
from tests.support.schemas import assert_conforms
from tritguard import api
from tritguard.attack.corruptions import OF_PICTURES, SEVERITIES
from tritguard.build import Build
from tritguard.cli import app
from tritguard.cli.attack import make_plan, shared_plan, wider_threats
from tritguard.data import Dataset, write_dataset
from tritguard.emit import Bundle
from tritguard.errors import BadInputError
from tritguard.evaluate.corruptions.checks import check
from tritguard.evaluate.corruptions.result import CorruptionsPlan, CorruptionsResult
from tritguard.evaluate.sound.result import SoundPlan
from tritguard.evaluate.study import Confirmation, Rate
from tritguard.report.registry import facts_of, to_html
from tritguard.twin import Twin

pytest_plugins = ("tests.support.device_fixtures",)
ndimage = pytest.importorskip("scipy.ndimage", reason="comes with the extra 'attack'")

SAMPLES = 24


def pictures(channels: int) -> np.ndarray:
    """Smooth pictures with some black in them, float64[12, 10, 14, channels] from 0 to 1."""
    drawn = np.random.default_rng(3).random((12, 10, 14, channels))
    smooth = ndimage.gaussian_filter(drawn, (0, 2, 2, 0))
    return np.asarray(np.clip((smooth - smooth.min()) / (smooth.max() - smooth.min()) - 0.1, 0, 1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OF_PICTURES)
def test_a_corruption_grows_with_its_severity_and_is_the_same_each_time(name: str, channels: int) -> None:
    clean, corruption = pictures(channels), OF_PICTURES[name]
    changes = []
    for severity in SEVERITIES:
        found = corruption.at(clean, severity, seed=1)
        assert found.shape == clean.shape
        assert np.array_equal(found, corruption.at(clean, severity, seed=1))
        changes.append(np.abs(np.clip(found, 0, 1) - clean).mean())
    assert changes[0] > 0 and changes == sorted(changes)
    assert changes[-1] > 1.4 * changes[0]


def test_corruptions_are_what_their_sources_say() -> None:
    clean, rng = pictures(3), np.random.default_rng(0)
    blurred = OF_PICTURES["gaussian-blur"].apply(clean, 0.8, rng)
    wanted = ndimage.gaussian_filter(clean, (0, 0.8, 0.8, 0), mode="nearest", radius=(0, 4, 4, 0))
    np.testing.assert_allclose(blurred, wanted, atol=1e-12)

    brighter = OF_PICTURES["brightness"].apply(clean, 0.2, rng)
    for before, after in zip(clean.reshape(-1, 3)[::17], brighter.reshape(-1, 3)[::17], strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        np.testing.assert_allclose(after, colorsys.hsv_to_rgb(hue, saturation, min(value + 0.2, 1)), atol=1e-12)

    flat = np.full((1, 100, 100, 1), 0.3)
    counted = OF_PICTURES["shot-noise"].apply(flat, 50, rng)
    assert abs(counted.mean() - 0.3) < 0.01 and abs(counted.var() - 0.3 / 50) < 5e-4
    assert abs(OF_PICTURES["gaussian-noise"].apply(flat, 0.1, rng).std() - 0.1) < 0.01
    struck = OF_PICTURES["impulse-noise"].apply(flat, 0.07, rng)
    assert set(np.unique(struck)) == {0.0, 0.3, 1.0} and abs((struck != 0.3).mean() - 0.07) < 0.02
    np.testing.assert_allclose(np.unique(OF_PICTURES["sensor-bits"].apply(clean, 2, rng)), [0, 1 / 3, 2 / 3, 1])


@pytest.fixture(scope="module")
def data(small_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pixels with the twin's labels, of which some are made wrong."""
    x = inputs(small_bundle, 60)
    labels = Twin(small_bundle).predict(x).labels
    labels[::10] = (labels[::10] + 1) % 5
    path = tmp_path_factory.mktemp("pixels") / "data.npz"
    pixels = (x.astype(np.int16) + 128).astype(np.uint8)
    write_dataset(path, Dataset("pixels", pixels, labels, tuple("abcde"), "pixel/255", "none"))
    return path


@pytest.fixture(scope="module")
def folder(small_bundle: Bundle, small_build: Build, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `attack --also corruptions` leaves."""
    out = tmp_path_factory.mktemp("corruptions")
    arguments = ["attack", small_bundle.path, small_build.path, "-d", data, "-o", out, "-n", SAMPLES]
    arguments += ["--attacks", "noise", "--set", "noise.tries=1", "--eps", 2, "--workers", 1, "--also", "corruptions"]
    arguments += ["--goal", "targeted"]  # of which nothing is proved, so that this takes seconds
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code in {0, 1}, done.output  # noise alone proves nothing of a net of random weights
    assert "gaussian-blur" in done.output
    return out


@pytest.fixture(scope="module")
def result(folder: Path) -> CorruptionsResult:
    assert_conforms(folder / "corruptions.json", "corruptions")
    found = api.read_study(folder / "corruptions.json")
    assert isinstance(found, CorruptionsResult)
    return found


def test_every_input_is_what_the_seed_makes_and_the_device_gave_its_bytes(
    result: CorruptionsResult, small_bundle: Bundle, data: Path
) -> None:
    """The answers are the device's; the corrupted inputs are made anew here and given to the twin."""
    drawn = api.load_data(str(data))
    x = drawn.x_test[list(result.provenance.sample_indices)]
    assert len(result.points) == len(OF_PICTURES) * len(SEVERITIES)
    assert result.confirmation.inputs == SAMPLES * (1 + len(result.points))
    assert result.confirmation.mismatched_inputs == 0
    for point in result.points:
        share = np.clip(OF_PICTURES[point.corruption].at(x / 255, point.severity, result.plan.seed), 0, 1)
        steps = (np.rint(255 * share) - 128).astype(np.int8)
        assert Twin(small_bundle).predict(steps).labels.tolist() == list(point.answers)
        moved = np.abs(steps.astype(int) - (x.astype(int) - 128)).reshape(SAMPLES, -1).max(axis=1)
        assert point.change == np.median(moved)
    assert result.clean.k == SAMPLES - sum(index % 10 == 0 for index in result.provenance.sample_indices)


def test_examples_are_of_the_severest(result: CorruptionsResult) -> None:
    assert [example.corruption for example in result.examples] == list(OF_PICTURES)
    for example in result.examples:
        assert example.severity == 5 and example.sample == result.provenance.sample_indices[0]
        assert len(base64.b64decode(example.corrupted_base64)) == np.prod(example.shape)
        assert example.corrupted_base64 != example.clean_base64


def test_the_reports_show_them(folder: Path, result: CorruptionsResult) -> None:
    for name in ("corruptions.html", "report.html"):
        page = (folder / name).read_text()
        assert "sensor-bits, severity 5" in page and page.count("data:image/png") >= 1 + len(OF_PICTURES)
        assert "none of them counts in robust accuracy" in page
    found = facts_of(result)
    assert found["corruptions.mean"].startswith("accuracy ") and "severities 1 to 5" in found["corruptions.mean"]
    assert to_html(result) == (folder / "corruptions.html").read_text()


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (("points", 3, "answers", 0), r"points\.3: says .* its answers make it"),
        (("answers", 0), "clean: says .* its answers make it"),
        (("confirmation", "inputs"), r"confirmation\.inputs: "),
    ],
)
def test_a_result_that_contradicts_itself_is_refused(
    folder: Path, tmp_path: Path, where: tuple[str | int, ...], message: str
) -> None:
    content = json.loads((folder / "corruptions.json").read_text())
    place = content
    for key in where[:-1]:
        place = place[key]
    labels = content["labels"]
    place[where[-1]] = (labels[0] + 1) % 5 if place[where[-1]] == labels[0] else labels[0]
    (tmp_path / "corruptions.json").write_text(json.dumps(content))
    with pytest.raises(BadInputError, match=message):
        api.read_study(tmp_path / "corruptions.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found["points"].pop(5), "points: are not the plan's corruptions at its severities"),
        (lambda found: found["points"].reverse(), "points: are not the plan's corruptions at its severities"),
        (lambda found: found["points"][0].update(level=0.5), r"points\.0\.level: 0\.5, gaussian-noise has"),
        (lambda found: found["examples"][0].update(sample=10**6), r"examples\.0: is of no sample"),
        (lambda found: found.update(issues=[], status="valid"), r"the figures show \w+ \(warn\)"),
        (lambda found: found["confirmation"].update(mismatched_inputs=1), "the figures show DEVICE_TWIN_MISMATCH"),
    ],
)
def test_rows_and_findings_that_were_taken_out_are_missed(folder: Path, change: object, message: str) -> None:
    content = json.loads((folder / "corruptions.json").read_text())
    assert callable(change)
    change(content)
    content["confirmation"]["inputs"] = len(content["labels"]) * (1 + len(content["points"]))
    with pytest.raises(ValidationError, match=message):
        CorruptionsResult.model_validate(content)


def test_the_data_range_is_that_of_the_attacks() -> None:
    attacks = make_plan(
        samples=7, seed=3, data_range="0,200", preset="quick", attacks="", eps="1", goal="untargeted", access="logits",
        budgets=[],
    )  # fmt: skip
    plans = [shared_plan(kind, attacks) for kind, _ in wider_threats("corruptions,sound")]
    assert plans == [CorruptionsPlan(samples=7, seed=3, data_range=(0, 200)), SoundPlan(samples=7, seed=3)]


def test_plans_and_data_that_do_not_fit_are_refused(small_bundle: Bundle, small_build: Build, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="no corruption 'fog': gaussian-noise"):
        CorruptionsPlan(corruptions=("fog",))
    for severities in ((), (2, 1), (0, 1), (5, 6)):
        with pytest.raises(ValidationError, match="must be rising, of 1 to 5"):
            CorruptionsPlan(severities=severities)
    x = inputs(small_bundle, 5)
    unknown = Dataset("bytes", x, np.zeros(5, np.int64), tuple("abcde"), "steps", "none")
    with pytest.raises(BadInputError, match="bytes: says no lowest and highest value"):
        api.corruptions(small_bundle, small_build, unknown, tmp_path, plan=CorruptionsPlan(samples=5))


def test_what_makes_the_figures_doubtful() -> None:
    seen = Confirmation(inputs=10, bytes_compared=50, mismatched_inputs=0, resent_frames=0, seconds=1.0)
    assert not list(check(Rate.of(150, 200), 0.3, seen))
    other = seen.model_copy(update={"mismatched_inputs": 1})
    found = list(check(Rate.of(30, 99), 0.3, other))
    assert [(issue.code, issue.severity) for issue in found] == [
        ("DEVICE_TWIN_MISMATCH", "invalid"), ("FEW_SAMPLES", "warn"), ("ACCURACY_AT_CHANCE", "warn"),
    ]  # fmt: skip


def test_threats_that_the_data_has_not_are_refused_before_the_attack(
    small_bundle: Bundle, small_build: Build, tmp_path: Path
) -> None:
    data = Dataset("d", inputs(small_bundle, 9), np.zeros(9, np.int64), tuple("abcde"), "steps", "")
    write_dataset(tmp_path / "data.npz", data)
    arguments = ["attack", str(small_bundle.path), str(small_build.path), "-d", str(tmp_path / "data.npz")]
    refused = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "out"), "--samples", "9", "--also", "sound"])
    assert isinstance(refused.exception, BadInputError) and "holds no recordings" in str(refused.exception)
    assert not (tmp_path / "out").exists()
