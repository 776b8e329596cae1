"""The study of proofs: both sides of the bracket, what contradicts a proof, and what the device says to it."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from tests.support.device_support import inputs
from tests.support.honest import ZOO
from tests.support.robustness_result import N, make_result
from tritguard import api
from tritguard.api.keeping import keep_other_result
from tritguard.attack import Ball
from tritguard.build import Build
from tritguard.certify.box import Region
from tritguard.certify.bracket import LEVELS
from tritguard.certify.splitting import lowest_corner
from tritguard.cli import app
from tritguard.data import Dataset, write_dataset
from tritguard.data.dataset import read_dataset
from tritguard.emit import Bundle, write_bundle
from tritguard.errors import BadInputError
from tritguard.evaluate.certify.result import CertifyPlan, CertifyResult
from tritguard.evaluate.certify.study import CERTIFY, study_certify
from tritguard.evaluate.study import Attacked, Rate
from tritguard.graph.model import FullyConnected
from tritguard.predictor import Int8
from tritguard.progress import Progress, silent
from tritguard.report.certify import content
from tritguard.report.registry import to_html
from tritguard.twin import Twin

pytest_plugins = ("tests.support.device_fixtures",)

EPS = (6, 10, 12)


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Dataset]:
    """An honest linear network that was trained, and what it is attacked with."""
    case = ZOO["linear"]()
    bundle = write_bundle(case.content, tmp_path_factory.mktemp("linear") / "bundle", name="linear")
    names = tuple(map(str, range(10)))
    return bundle, Dataset("drawn", case.x, case.y, names, "steps", "none")


def corners_of_each_class(bundle: Bundle, x: Int8, y: np.ndarray, ball: Ball) -> np.ndarray:
    """bool[n]: which samples of a linear network break at the corner that favours some other class most.

    An attack of its own, straight from the weights: it knows nothing of bounds.
    """
    layer = bundle.golden.ops[0]
    assert isinstance(layer, FullyConnected)
    weights = layer.weights.astype(np.float64) * layer.weight_scale[:, None]
    broken = np.zeros(len(x), bool)
    for other in range(len(weights)):
        towards = weights[other] - weights[y]
        corner = np.clip(x + ball.eps * np.sign(towards), ball.low, ball.high).astype(np.int8)
        broken |= Twin(bundle).predict(corner).labels != y
    return broken


def attacked_by_corners(bundle: Bundle, data: Dataset, eps: tuple[int, ...] = EPS) -> Attacked:
    y = data.y_test.astype(np.int64)
    first: list[int | None] = [0 if wrong else None for wrong in Twin(bundle).predict(data.x_test).labels != y]
    for bound in eps:
        broken = corners_of_each_class(bundle, data.x_test, y, Ball("Linf", bound))
        first = [bound if before is None and now else before for before, now in zip(first, broken, strict=True)]
    return Attacked(
        model_sha256=bundle.manifest.model_sha256, data_sha256=data.sha256, sample_indices=tuple(range(len(y))),
        norm="Linf", limits=(-128, 127), bounds=eps, first=tuple(first),
    )  # fmt: skip


def test_an_honest_linear_network_is_decided_completely(linear: tuple[Bundle, Dataset]) -> None:
    """What is proved is what the attack leaves; at the last eps but for two samples that rounding alone decides.

    There two scores come so close that the corners tie, and other inputs nearby do not: the search finds them.
    """
    bundle, data = linear
    attacked = attacked_by_corners(bundle, data)
    result = study_certify(bundle, None, data, CertifyPlan(eps=EPS, seconds=30), silent, attacked)
    assert [issue.code for issue in result.issues] == ["NO_DEVICE"]
    names: list[str] = []

    def named(stage: str) -> Progress:
        names.append(stage)
        return silent(stage)

    shallow = study_certify(bundle, None, data, CertifyPlan(eps=EPS, level="intervals"), named, attacked)
    assert names == [f"Proving at eps {eps}, bound {place} of 3" for place, eps in enumerate(EPS, 1)]
    broken = shallow.points[0].statuses.count("b") - shallow.points[0].settled("b", "clean")
    levels = content(shallow).sections[1].grid
    assert levels is not None and broken and (str(EPS[0]), "attacks alone", "-", "-", str(broken), "-") in levels.rows
    for place in range(len(EPS)):  # the deep one settles all by itself
        point = result.points[place]
        assert shallow.broke(place, "intervals") == result.broke(place, "intervals") == 0
        by_level = sum(result.broke(place, level) for level in LEVELS[1:])
        assert by_level == point.statuses.count("b") - point.settled("b", "clean")
    proved = [point.proved.k for point in result.points]
    assert proved == [point.unbroken.k for point in result.points]
    left = [0 if point.attacked is None else point.attacked.k for point in result.points]
    assert left[:2] == proved[:2] and left[2] - 2 <= proved[2] <= left[2]
    assert left[0] > left[1] > left[2] > 0


def test_an_attack_below_the_proof_is_invalid(linear: tuple[Bundle, Dataset]) -> None:
    bundle, data = linear
    attacked = attacked_by_corners(bundle, data)
    lying = attacked.model_copy(update={"first": tuple(0 for _ in attacked.first)})
    result = study_certify(bundle, None, data, CertifyPlan(eps=(2,), level="intervals"), silent, lying)
    assert result.status == "invalid"
    assert "PROOF_CONTRADICTED" in {issue.code for issue in result.issues}
    assert "Robust accuracy from both sides" not in to_html(result)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_sha256": "0" * 64}, "model"),
        ({"data_sha256": "0" * 64, "norm": "L2"}, "data set and norm"),
        ({"sample_indices": (1, 2)}, "samples"),
        ({"limits": (-128, 0)}, "range of the data"),
    ],
)
def test_attacks_on_something_else_are_refused(
    linear: tuple[Bundle, Dataset], changes: dict[str, object], named: str
) -> None:
    bundle, data = linear
    other = attacked_by_corners(bundle, data, (2,)).model_copy(update=changes)
    with pytest.raises(BadInputError, match=f"differs in {named}, so"):
        study_certify(bundle, None, data, CertifyPlan(eps=(2,), level="intervals"), silent, other)


def test_a_robustness_result_says_what_its_attacks_found() -> None:
    attacked = make_result().attacked
    assert attacked is not None
    assert attacked.bounds == (1, 2, 4, 8, 64) and len(attacked.first) == N
    left = [sum(first is None or first > eps for first in attacked.first) for eps in attacked.bounds]
    assert left == [point.robust.k for point in make_result().curve]


@pytest.fixture(scope="module")
def shown(
    small_bundle: Bundle, small_build: Build, tmp_path_factory: pytest.TempPathFactory
) -> tuple[CertifyResult, Path]:
    """The verb on a model of all kinds of ops, with its emulated board; labels are the twin's, and some wrong."""
    folder = tmp_path_factory.mktemp("certify")
    x = inputs(small_bundle, 120)
    labels = Twin(small_bundle).predict(x).labels
    labels[:20] = (labels[:20] + 1) % 5
    write_dataset(folder / "data.npz", Dataset("noise", x, labels, tuple("abcde"), "steps", "none"))
    options = ["-n", "24", "--eps", "1,2", "--seconds", "0.05", "-b", str(small_build.path)]
    arguments = ["certify", str(small_bundle.path), "-d", str(folder / "data.npz"), "-o", str(folder), *options]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "not broken" in done.output and "splitting" in done.output
    result = api.read_study(folder / "certify.json")
    assert isinstance(result, CertifyResult)
    return result, folder


def test_the_device_confirms_what_breaks_and_what_is_proved(shown: tuple[CertifyResult, Path]) -> None:
    result, folder = shown
    assert [issue.code for issue in result.issues] == ["FEW_SAMPLES"]
    assert result.confirmation is not None and result.confirmation.inputs > 24
    assert all(point.proved.k and point.statuses.count("b") for point in result.points)
    page = (folder / "certify.html").read_text()
    assert "Robust accuracy from both sides" in page and "inputs replayed" in page
    assert f"between {100 * result.points[-1].proved.value:.1f} % (proved)" in page


def test_a_result_of_another_plan_is_kept(shown: tuple[CertifyResult, Path], small_bundle: Bundle) -> None:
    """As every verb keeps it; the plan that it is of may be carried out again."""
    result, folder = shown
    arguments = ["certify", str(small_bundle.path), "-d", str(folder / "data.npz"), "-o", str(folder), "--eps", "1,2"]
    done = CliRunner().invoke(app, [*arguments, "-n", "24", "--seconds", "0.05", "--seed", "1"])
    assert isinstance(done.exception, BadInputError) and "(seed: 0 there, 1 here)" in str(done.exception)
    data = read_dataset(folder / "data.npz")
    keep_other_result(CERTIFY, folder, data, result.plan.model_dump(mode="json"), [small_bundle], replace=False)
    assert api.read_study(folder / "certify.json") == result


def test_counterexamples_are_kept_and_break_what_they_say(
    shown: tuple[CertifyResult, Path], small_bundle: Bundle
) -> None:
    result, folder = shown
    data = np.load(folder / "data.npz")
    kept = [(point.eps_steps, each) for point in result.points for each in point.counterexamples]
    assert kept
    for eps, each in kept:
        x = np.frombuffer(base64.b64decode(each.input_base64), np.int8).reshape(1, *each.shape)
        assert np.abs(x[0].astype(int) - data["x_test"][each.sample]).max() <= eps
        assert Twin(small_bundle).predict(x).labels[0] == each.label != data["y_test"][each.sample]


def test_a_result_that_contradicts_itself_is_refused(shown: tuple[CertifyResult, Path]) -> None:
    fields = json.loads(shown[0].model_dump_json())
    point = fields["points"][0]
    lie = point["statuses"].replace("b", "p", 1)
    with pytest.raises(ValidationError, match=r"points\.0\.proved"):
        CertifyResult.model_validate(fields | {"points": [point | {"statuses": lie}, *fields["points"][1:]]})
    swapped = [fields["points"][1] | {"eps_steps": 1}, fields["points"][0] | {"eps_steps": 2}]
    with pytest.raises(ValidationError, match="a larger ball holds the smaller one"):
        CertifyResult.model_validate(fields | {"points": swapped})
    with pytest.raises(ValidationError, match="the figures show FEW_SAMPLES"):
        CertifyResult.model_validate(fields | {"issues": [], "status": "valid"})
    fewer = point | {"attacked": Rate.of(point["unbroken"]["k"] - 1, point["unbroken"]["n"]).model_dump()}
    with pytest.raises(ValidationError, match="the figures show PROOF_CONTRADICTED"):
        CertifyResult.model_validate(fields | {"points": [fewer, *fields["points"][1:]]})


def test_the_corner_that_is_tried_lies_in_the_ball_and_in_the_range() -> None:
    rng = np.random.default_rng(0)
    clean = rng.integers(-90, 100, (5, 4, 3)).astype(np.int8)
    for ball in (Ball("Linf", 9, -95, 101), Ball("L2", 7, -95, 101)):
        corner = lowest_corner(Region.of(ball, clean), rng.normal(size=clean.shape))
        assert (ball.distances(corner, clean) <= ball.eps).all() and (corner != clean).any()
        assert ball.low <= corner.min() and corner.max() <= ball.high
