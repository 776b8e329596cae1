"""Models that only look robust: the checks fire on each and on no honest one, and no headline flatters them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support import honest, masks
from tests.support.judged import evaluated, victim
from tests.support.masked_models import HONEST, MASKED, Mask, RandomRounding, task
from tests.support.masks.task import left_by_known
from tests.support.tflite_builder import ModelBuilder
from tritguard.attack import Apgd, Ball, Square, Target
from tritguard.attack.base import Access
from tritguard.evaluate.robustness.growth import holding
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.search import Found, Victim

pytest.importorskip("art", reason="white-box attacks need the extra 'attack'")
pytestmark = pytest.mark.slow

PLAN = Plan(
    samples=100,
    eps=(1, 8, 24),
    attacks=("noise", "apgd-ce", "apgd-dlr", "two-step", "square", "hopskipjump"),
    settings={
        "apgd-ce": {"steps": 15},
        "apgd-dlr": {"steps": 30, "restarts": 2},
        "two-step": {"gradients": 15, "queries": 80},
        "square": {"queries": 80},
        "hopskipjump": {"queries": 60, "probes": 16},
    },
)


def masked(mask: Mask, folder: Path, plan: Plan = PLAN) -> Victim:
    return victim(mask.build(), folder, plan, *task()[2:])


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    """The honest net without any mask."""
    return masked(HONEST["plain"], tmp_path_factory.mktemp("control"))


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


def test_no_check_fires_on_an_honest_model(control: Victim, tmp_path: Path) -> None:
    _, judged = evaluated(masked(HONEST["with a softmax"], tmp_path), PLAN, control)
    assert judged.issues == ()
    assert judged.status == "valid"


EXPECTED: dict[str, tuple[Access, str]] = {
    "softmax head": ("scores", "SOFTMAX_HEAD"),
    "tiny output scale": ("scores", "SCORE_PLATEAUS"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_checks_fire_on_masked_models_and_no_headline_flatters_them(name: str, control: Victim, tmp_path: Path) -> None:
    access, code = EXPECTED[name]
    plan = PLAN.model_copy(update={"access": access, "eps": PLAN.eps[-1:]})
    model = masked(MASKED[name], tmp_path, plan)
    found, judged = evaluated(model, plan, control)
    assert code in {issue.code for issue in judged.issues}
    assert judged.status != "valid"
    headline = next(point for point in judged.curve if point.eps_steps == plan.eps[-1])
    assert judged.status == "invalid" or headline.robust.value <= strongest(model, control, found)


def test_a_masked_model_without_a_control_is_not_quoted_either(tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"eps": (8,), "attacks": ("noise", "apgd-ce", "square", "hopskipjump")})
    found, judged = evaluated(masked(MASKED["robust in looks by scaling"], tmp_path), plan, None)
    assert judged.status == "invalid"
    grown = [one for one in found.growths if one.attack == "Square"]
    assert grown and all(one.queries[0] == 80 and one.queries[-1] == 80 * 2 ** len(one.broken) for one in grown)
    assert all(one.settled or len(one.broken) == 5 for one in found.growths)
    for one in grown:
        (row,) = (row for row in judged.rows if (row.attack, row.eps_steps) == ("Square", one.eps_steps))
        assert row.parameters["queries"] == one.queries[-1] and row.queries_per_sample <= sum(one.queries)
    assert {"NO_CONTROL", "ZERO_GRADIENTS", "NOISE_BEATS_GRADIENTS"} <= {issue.code for issue in judged.issues}


def test_random_rounding_invalidates(control: Victim, tmp_path: Path) -> None:
    model = masked(HONEST["plain"], tmp_path)
    random: Target = replace(model.target, predictor=RandomRounding(model.target.predictor))
    plan = PLAN.model_copy(update={"eps": PLAN.eps[-1:], "attacks": ("noise", "apgd-ce")})
    _, judged = evaluated(replace(model, target=random), plan, control)
    assert "NONDETERMINISTIC" in {issue.code for issue in judged.issues}
    assert judged.status == "invalid"


def test_one_gradient_step_with_a_control_is_not_enough(control: Victim, tmp_path: Path) -> None:
    plan = Plan(samples=100, eps=PLAN.eps, attacks=("fgsm",))
    _, judged = evaluated(masked(HONEST["plain"], tmp_path), plan, control)
    assert "LITTLE_EVIDENCE" in {issue.code for issue in judged.issues}
    assert judged.status != "valid"


def test_a_linear_network_that_holds_at_the_sanity_bound_is_proved_and_not_doubted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its exact worst case at eps 64 is 100 %: every class's weights are the signs of its prototype, 100 steps away.

    Without the proofs the same evidence leaves doubts; so does a result that was made before there were any.
    """
    rng = np.random.default_rng(3)
    signs = rng.choice([-1, 1], (10, 64))
    y = np.arange(100) % 10
    x = (100 * signs[y] + rng.integers(-8, 9, (100, 64))).astype(np.int8)
    moved = x - 64 * signs[y]  # towards any other class, no element can do more
    assert all(
        ((signs[label] - signs) @ row)[np.arange(10) != label].min() > 0 for row, label in zip(moved, y, strict=True)
    )
    builder = ModelBuilder((64,), 1 / 64, 0)
    out = builder.dense(builder.input, signs.astype(np.int8), [1 / 64] * 10, None, (0.02, 0))
    plan = PLAN.model_copy(update={"eps": (24,)})
    model = victim(builder.build(out), tmp_path, plan, x, y)
    found, judged = evaluated(model, plan, model)
    assert judged.curve[-1].robust.value == 1
    # The proofs clear the attacks. That this control, the network itself, holds as well is said all the same.
    assert {issue.code for issue in judged.issues} - {"SATURATED_LOGITS"} == {"CONTROL_HOLDS"}
    assert found.control is not None and found.control.samples is not None
    assert judged.samples.proved == found.control.samples.proved == "1" * 100
    monkeypatch.setattr("tritguard.evaluate.robustness.judgement.prove", lambda *_: None)
    monkeypatch.setattr("tritguard.evaluate.robustness.search.prove", lambda *_: None)
    _, judged = evaluated(model, plan, model)
    assert {issue.code for issue in judged.issues} - {"SATURATED_LOGITS"} == {"HOLDS_AT_SANITY_EPS", "CONTROL_HOLDS"}


def test_a_constant_network_on_unbalanced_data_is_no_network(tmp_path: Path) -> None:
    """It is right on 95 % of the samples, under any attack, which 1 in 10 outputs does not explain."""
    y = np.repeat([0, 1], [95, 5])
    x = np.random.default_rng(0).integers(-128, 128, (100, 64), dtype=np.int8)
    builder = ModelBuilder((64,), 1 / 64, 0)
    weights = np.zeros((10, 64), np.int8)
    bias = np.where(np.arange(10) == 0, 4096, 0).astype(np.int32)
    out = builder.dense(builder.input, weights, [1 / 64] * 10, bias, (0.02, 0))
    plan = PLAN.model_copy(update={"eps": (24,), "attacks": ("noise", "apgd-ce", "hopskipjump")})
    model = victim(builder.build(out), tmp_path, plan, x, y)
    _, judged = evaluated(model, plan, None)
    assert judged.clean.value == judged.curve[-1].robust.value == 0.95
    assert judged.samples.proved is not None and judged.samples.proved.count("1") == 95, "attacks are not to blame"
    assert judged.status == "invalid" and "CLEAN_AT_CHANCE" in {issue.code for issue in judged.issues}


CHEAP = Plan(
    samples=50,
    attacks=("noise", "apgd-margin", "apgd-ce", "square", "hopskipjump"),
    settings={
        "noise": {"tries": 5},
        "apgd-margin": {"steps": 15},
        "apgd-ce": {"steps": 15},
        "square": {"queries": 60},
        "hopskipjump": {"queries": 50, "probes": 15},
    },
)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("dead branch added", "GRADIENTS_REPAIRED"),
        ("dead branch as strong as the network", None),
        ("outputs given three times, lower", None),
        ("a unit that sleeps", "GRADIENTS_REPAIRED"),
    ],
)
def test_no_headline_is_above_the_best_attack_known(name: str, code: str | None, tmp_path: Path) -> None:
    """A few of the kinds; `scripts/bench truth` goes through both zoos."""
    case = masks.ZOO[name]()
    case = replace(case, x=case.x[:50], y=case.y[:50])
    plan = CHEAP.model_copy(update={"eps": case.eps[-1:]})
    model = victim(case.content, tmp_path, plan, case.x, case.y)
    _, judged = evaluated(model, plan, None)
    headline = judged.curve[0].robust.value
    assert judged.status == "invalid" or headline <= left_by_known(case, model.target, tmp_path) + 0.02
    assert code is None or code in {issue.code for issue in judged.issues}


@pytest.mark.parametrize("name", ["linear", "tiny", "nine to one", "ternary"])
def test_no_honest_network_is_condemned(name: str, tmp_path: Path) -> None:
    """A few of the zoo; all of it is in `scripts/bench truth`."""
    case = honest.ZOO[name]()
    plan = CHEAP.model_copy(update={"eps": case.eps})
    model = victim(case.content, tmp_path, plan, case.x[:50], case.y[:50])
    _, judged = evaluated(model, plan, model)
    assert judged.clean.value > 0.3
    assert judged.status != "invalid", judged.issues
    assert "LITTLE_EVIDENCE" not in {issue.code for issue in judged.issues}
    # Repaired gradients may break what the few steps of this plan leave, but not because the plain ones lead nowhere.
    assert not any("led nowhere" in issue.message for issue in judged.issues)
    assert [one.eps_steps for one in judged.symptoms.fidelity] == [*case.eps, plan.sanity]
