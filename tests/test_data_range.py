"""The data's own range: no input that an attack gives leaves it, and data that does not keep to it is refused."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tests.support import float_net
from tests.support.linear_victim import VALUES, edge, victim
from tests.support.masked_models import HONEST, task
from tritguard.attack import Attack, Ball, Crafted, Noise, Target
from tritguard.attack.base import Kind
from tritguard.attack.catalog import ATTACKS, make
from tritguard.cli.attack import make_plan
from tritguard.data import Dataset, read_dataset
from tritguard.data.dataset import PIXEL_UNIT, write_dataset
from tritguard.emit import write_bundle
from tritguard.errors import BadInputError
from tritguard.evaluate.crafting.job import Job, OutOfBallError, check_crafted
from tritguard.evaluate.limits import DataRange, RangeSetting, find_range
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.search import search
from tritguard.evaluate.robustness.study import prepare
from tritguard.evaluate.samples import Samples
from tritguard.evaluate.transfer import study as transfer_study
from tritguard.evaluate.transfer.result import TransferPlan
from tritguard.evaluate.transfer.study import study_transfer
from tritguard.predictor import Outputs
from tritguard.report.wording import data_range
from tritguard.twin import Twin

LIMITS = (-40, 70)
SETTINGS: dict[str, dict[str, int]] = {"two-step": {"gradients": 10, "queries": 30}, "zoo": {"coordinates": 4}}


def data(dtype: str, unit: str = PIXEL_UNIT, high: float = 1.0) -> Dataset:
    x = np.linspace(0, high, 4 * VALUES).reshape(4, VALUES).astype(dtype)
    return Dataset("probe", x, np.arange(4) % 3, ("a", "b", "c"), unit, "none")


@pytest.fixture(scope="module")
def small_net(tmp_path_factory: pytest.TempPathFactory) -> Target:
    bundle = write_bundle(HONEST["plain"].build(), tmp_path_factory.mktemp("net") / "bundle", name="net")
    return prepare(bundle, Samples(task()[2][:12], task()[3][:12], np.arange(12)), Plan())


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_leaves_the_range_of_the_data(name: str, norm: str, small_net: Target) -> None:
    pytest.importorskip("art", reason="white-box attacks need the extra 'attack'")
    if not ATTACKS[name].knows(norm):
        pytest.skip(f"{name} attacks in no {norm} ball")
    known = inspect.signature(ATTACKS[name].make).parameters
    small = {key: value for key, value in (("steps", 6), ("queries", 40), ("probes", 8)) if key in known}
    target = replace(small_net, x=np.clip(small_net.x, *LIMITS).astype(np.int8))
    ball = Ball(norm, 90 if norm == "Linf" else 900).within(LIMITS)
    crafted = make(name, small | SETTINGS.get(name, {})).craft(target, ball)
    check_crafted(Job(make(name, {}), ball, target, 0), crafted.x)
    assert crafted.x.min() >= LIMITS[0] and crafted.x.max() <= LIMITS[1]
    if name in ("noise", "fgsm", "pgd", "square"):  # which use the whole ball: the ends are reached
        assert norm == "L2" or ((crafted.x == LIMITS[0]).any() and (crafted.x == LIMITS[1]).any())


class Straying(Attack):
    """Gives inputs in its ball, but beyond the data's range."""

    name = "Straying"
    kind: Kind = "baseline"

    @property
    def parameters(self) -> dict[str, float | int | str]:
        return {}

    def craft(self, target: Target, ball: Ball) -> Crafted:
        return Crafted((target.x + 2).astype(np.int8), 0, 0)


def test_inputs_beyond_the_range_are_refused_and_not_counted() -> None:
    target = replace(float_net.target(3), x=np.full_like(float_net.target(3).x, 10))
    ball = Ball("Linf", 2, -128, 11)
    with pytest.raises(OutOfBallError, match="left the data's range, -128 to 11 in steps: gave 12 to 12"):
        check_crafted(Job(Straying(), ball, target, 0), Straying().craft(target, ball).x)


@pytest.mark.parametrize(
    ("dataset", "setting", "found"),
    [
        (data("float32"), "data", (0.0, 1.0, -128, 127)),
        (data("float32"), "none", None),
        (data("float32", "MFCC"), "data", None),
        (data("float32", "MFCC"), (-0.5, 1.0), (-0.5, 1.0, -128, 127)),
        (data("float32", "volt", 0.4), (0.0, 0.4), (0.0, 0.4, -128, -26)),
        (replace(data("float32", "volt", 0.4), value_range=(0.0, 0.4)), "data", (0.0, 0.4, -128, -26)),
        (data("uint8", high=100), "data", (0.0, 255.0, -128, 127)),
        (data("uint8", high=100), (0.0, 100.0), (0.0, 100.0, -128, -28)),
        (data("int8", high=100), "data", None),
        (data("int8", high=100), (-5.0, 100.0), (-5.0, 100.0, -5, 100)),
    ],
)
def test_the_range_comes_from_the_definition_or_from_the_plan(
    dataset: Dataset, setting: RangeSetting, found: tuple[float, float, int, int] | None
) -> None:
    expected = None if found is None else DataRange(low=found[0], high=found[1], low_step=found[2], high_step=found[3])
    assert find_range(setting, dataset, edge(1 / 255)) == expected
    text = data_range(expected)
    assert ("not known" in text) if expected is None else (f"{expected.low_step} to {expected.high_step}" in text)


@pytest.mark.parametrize(
    ("dataset", "setting", "why"),
    [
        (data("float32", "volt", 0.6), (0.0, 0.4), "probe goes from 0 to 0.6"),
        (data("uint8", high=100), (0.0, 0.5), "samples are uint8, which has no such values"),
        (data("uint8", high=100), (0.0, 300.0), "samples are uint8, which has no such values"),
        (data("float32", "volt", 0.0001), (0.0, 0.0001), "is the one step -128"),
    ],
)
def test_data_beyond_its_range_is_refused(dataset: Dataset, setting: RangeSetting, why: str) -> None:
    with pytest.raises(BadInputError, match=why) as refused:
        find_range(setting, dataset, edge(1 / 255))
    assert "--data-range" in str(refused.value)


def test_the_option_is_a_pair_or_a_word() -> None:
    def plan(text: str) -> Plan:
        return make_plan(
            samples=1, preset="quick", attacks="", eps="1", seed=0, goal="untargeted", access="logits", budgets=[],
            data_range=text,
        )  # fmt: skip

    assert [plan(text).data_range for text in ("data", "none", "0,0.5")] == ["data", "none", (0.0, 0.5)]
    for wrong in ("", "1", "0,1,2", "a,b", "2,1", "nan,1"):
        with pytest.raises(BadInputError):
            plan(wrong)
    with pytest.raises(ValidationError, match="is not below"):
        Plan(data_range=(1.0, 1.0))


def test_a_data_set_keeps_its_range_in_its_file(tmp_path: Path) -> None:
    for value_range in (None, (-1.5, 2.0)):
        write_dataset(tmp_path / "set.npz", replace(data("float32", "volt"), value_range=value_range))
        assert read_dataset(tmp_path / "set.npz").value_range == value_range
    np.savez(tmp_path / "bad.npz", x_test=data("float32").x_test, y_test=np.zeros(4, int), value_range=[1, 0])
    with pytest.raises(BadInputError, match="value_range"):
        read_dataset(tmp_path / "bad.npz")


def test_a_control_and_what_is_transferred_from_it_keep_to_it_too(tmp_path: Path) -> None:
    dataset = data("uint8", high=100)
    model, _ = victim(tmp_path, "model", 1.0, dataset)
    control, _ = victim(tmp_path, "control", 1 / 255, dataset)
    limits = (-128, -28)
    plan = Plan(samples=4, eps=(3, 40), attacks=("noise",), data_range=(0.0, 100.0))
    found = search(
        replace(model, limits=limits), plan, replace(control, limits=limits), lambda _stage: lambda _done, _total: None
    )
    assert {run.attack.name for run in found.runs} == {Noise.name, "Transfer"}
    assert all(run.x.max() <= -28 for run in found.runs)
    assert max(run.x.max() for run in found.runs) == -28


def test_a_study_of_transfer_keeps_to_it_too(tmp_path: Path) -> None:
    pytest.importorskip("art", reason="gradients need the extra 'attack'")
    bundle = write_bundle(HONEST["plain"].build(), tmp_path / "bundle", name="net")
    x = np.clip(task()[2], *LIMITS).astype(np.int8)
    dataset = Dataset("steps", x, task()[3], tuple("abcdefghij"), "volt", "none")
    plan = TransferPlan(samples=12, eps=(40,), steps=4, data_range=(float(LIMITS[0]), float(LIMITS[1])))
    asked: list[np.ndarray] = []

    class Watched(Twin):
        def predict(self, x: np.ndarray) -> Outputs:
            asked.append(x)
            return super().predict(x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer_study, "Twin", Watched)
        result = study_transfer([bundle], [], dataset, plan, lambda _stage: lambda _done, _total: None)
    assert result.data_range is not None and result.data_range.limits == LIMITS
    assert max(part.max() for part in asked) == LIMITS[1] and min(part.min() for part in asked) == LIMITS[0]
