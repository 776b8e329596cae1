"""Models that only look robust: the checks fire on each and on no honest one, and no headline flatters them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.masked_models import HONEST, MASKED, Mask, RandomRounding, task
from tests.support.shared import shared_file
from tritguard.attack import Apgd, Ball, Square, Target
from tritguard.emit import write_bundle
from tritguard.evaluate.crafting.store import Store
from tritguard.evaluate.robustness.judgement import DeviceAnswers, Judgement, judge
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.search import Found, Victim, holding, search
from tritguard.evaluate.robustness.study import prepare
from tritguard.evaluate.robustness.symptoms import unsteady
from tritguard.evaluate.samples import Samples

pytest.importorskip("art", reason="white-box attacks need the extra 'attack'")
pytestmark = pytest.mark.slow

PLAN = Plan(
    samples=100,
    eps=(1, 8, 24),
    attacks=("noise", "apgd-ce", "apgd-dlr", "two-step", "square"),
    settings={
        "apgd-ce": {"steps": 15},
        "apgd-dlr": {"steps": 30, "restarts": 2},
        "two-step": {"gradients": 15, "queries": 80},
        "square": {"queries": 80},
    },
)


def victim(content: bytes, folder: Path, plan: Plan, x: np.ndarray, y: np.ndarray) -> Victim:
    bundle = write_bundle(content, folder / "bundle", name=folder.name)
    target = prepare(bundle, Samples(x, y, np.arange(len(x))), plan)
    return Victim(folder.name, bundle.manifest.model_sha256, target, Store(folder / "crafted", "model"))


def masked(mask: Mask, folder: Path, plan: Plan = PLAN) -> Victim:
    return victim(mask.build(), folder, plan, *task()[2:])


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    """The honest net without any mask."""
    return masked(HONEST["plain"], tmp_path_factory.mktemp("control"))


def evaluated(model: Victim, plan: Plan, control: Victim | None) -> tuple[Found, Judgement]:
    """As `evaluate` does it, with the twin for a device."""

    def labels(x: np.ndarray) -> np.ndarray:
        return model.target.predictor.predict(x).labels

    found = search(model, plan, control, lambda _stage: lambda _done, _total: None)
    first = model.target.predictor.predict(model.target.x)
    answers = DeviceAnswers(
        clean=labels(model.target.x),
        runs=tuple(labels(run.x) for run in found.runs),
        again=None if found.again is None else labels(found.again.x),
        mismatched=0,
        unsteady=unsteady(model.target.predictor, model.target.x, first),
    )
    return found, judge(plan, model.target, found, answers)


def strongest(model: Victim, control: Victim, found: Found) -> float:
    """What is left of a model by far more of everything: its own search, long searches, all that breaks the control."""
    open_target, ball = replace(model.target, access="logits"), Ball("Linf", PLAN.eps[-1])
    xs = [run.x for run in found.runs if run.eps <= ball.eps]
    for attack in (Apgd("dlr", 50, 2), Square(500)):
        xs.append(attack.craft(open_target, ball).x)
        xs.append(attack.craft(control.target, ball).x)
    holds = holding(model.target, [])
    for x in xs:
        holds &= model.target.predictor.predict(x).labels == model.target.y
    return float(holds.mean())


@pytest.mark.parametrize("name", HONEST)
def test_no_check_fires_on_an_honest_model(name: str, control: Victim, tmp_path: Path) -> None:
    _, judged = evaluated(masked(HONEST[name], tmp_path), PLAN, control)
    assert judged.issues == ()
    assert judged.status == "valid"


def test_no_check_fires_on_the_keyword_spotter(tmp_path: Path) -> None:
    """MLPerf Tiny's DS-CNN, undefended: its own control. Its softmax head hides nothing, for logits are shown."""
    data = np.load(shared_file("data/gsc_kws01.npz"))
    plan = PLAN.model_copy(update={"eps": (4,)})
    content = shared_file("models/dscnn_int8.tflite").read_bytes()
    model = victim(content, tmp_path, plan, data["mfcc_int8"][:100], data["labels"][:100].astype(np.int64))
    _, judged = evaluated(model, plan, model)
    assert judged.issues == ()


EXPECTED = {
    "saturated logits": ("logits", "SATURATED_LOGITS"),
    "softmax head": ("scores", "SOFTMAX_HEAD"),
    "tiny output scale": ("scores", "SCORE_PLATEAUS"),
    "staircase activations": ("logits", "SCORE_PLATEAUS"),
    "robust in looks by scaling": ("logits", "ZERO_GRADIENTS"),
}


@pytest.mark.parametrize("name", MASKED)
def test_checks_fire_on_masked_models_and_no_headline_flatters_them(name: str, control: Victim, tmp_path: Path) -> None:
    access, code = EXPECTED[name]
    plan = PLAN.model_copy(update={"access": access})
    model = masked(MASKED[name], tmp_path, plan)
    found, judged = evaluated(model, plan, control)
    assert code in {issue.code for issue in judged.issues}
    assert judged.status != "valid"
    headline = next(point for point in judged.curve if point.eps_steps == plan.eps[-1])
    assert judged.status == "invalid" or headline.robust.value <= strongest(model, control, found)


def test_a_masked_model_without_a_control_is_not_quoted_either(tmp_path: Path) -> None:
    _, judged = evaluated(masked(MASKED["robust in looks by scaling"], tmp_path), PLAN, None)
    assert judged.status == "invalid"
    assert {"NO_CONTROL", "ZERO_GRADIENTS", "NOISE_BEATS_GRADIENTS"} <= {issue.code for issue in judged.issues}


def test_random_rounding_invalidates(control: Victim, tmp_path: Path) -> None:
    model = masked(HONEST["plain"], tmp_path)
    random: Target = replace(model.target, predictor=RandomRounding(model.target.predictor))
    _, judged = evaluated(replace(model, target=random), PLAN, control)
    assert "NONDETERMINISTIC" in {issue.code for issue in judged.issues}
    assert judged.status == "invalid"
