"""Plans, crafting that resumes, and the checks that say whether a number can be believed."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tests.support.device_support import inputs
from tests.support.kept import jobs
from tests.support.known_models import ternary_model
from tests.support.targets import ignore
from tritguard.attack import Asking, Attack, Ball, Boundary, Crafted, Noise, Square, Target
from tritguard.attack.base import Kind
from tritguard.attack.catalog import ATTACKS, Entry, make
from tritguard.attack.view import GradientView
from tritguard.build import Build
from tritguard.campaign import store
from tritguard.campaign.job import Job
from tritguard.campaign.orders import Crew
from tritguard.campaign.runs import CHUNK, craft_all
from tritguard.campaign.store import Store
from tritguard.campaign.workers import Workers
from tritguard.cli.attack import make_plan
from tritguard.device import open_device
from tritguard.emit import Bundle, write_bundle
from tritguard.errors import BadInputError
from tritguard.evaluate.robustness.judgement import DeviceAnswers, tabulate
from tritguard.evaluate.robustness.live import plan_live, search_live
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.presets import PRESETS, Preset
from tritguard.evaluate.robustness.search import Found
from tritguard.evaluate.robustness.so_far import following, read_so_far
from tritguard.evaluate.robustness.study import _draw_aims
from tritguard.evaluate.robustness.table import count, to_flags
from tritguard.evaluate.study import Rate
from tritguard.graph import read_graph
from tritguard.predictor import Int8, Outputs
from tritguard.train import TrainConfig
from tritguard.twin import Twin

pytest_plugins = ["tests.support.device_fixtures", "tests.support.targets"]


@dataclass
class Counting(Attack):
    """Noise that counts how often it is asked, and can fail: an attack as any other."""

    name: str = "Counting"
    kind: Kind = "baseline"
    fail_at: int | None = None
    asked: list[int] = field(default_factory=list)

    @property
    def parameters(self) -> dict[str, float | int | str]:
        return {"tries": 2}

    def craft(self, target: Target, ball: Ball) -> Crafted:
        if ball.eps == self.fail_at:
            raise KeyboardInterrupt
        self.asked.append(ball.eps)
        return Noise(2).craft(target, ball)


@pytest.mark.parametrize("targeted", [False, True])
def test_a_table_is_what_the_device_said(targeted: bool, target: Target, tmp_path: Path) -> None:
    rng, n = np.random.default_rng(0), len(target.x)
    aimed = replace(target, aim=(target.y + 1) % 5 if targeted else None)
    runs, throughput = craft_all(
        aimed, [Ball("Linf", 2), Ball("Linf", 9)], [Noise(2)], Store(tmp_path / "campaign.db", "model"), ignore
    )
    answers = DeviceAnswers(
        clean=np.where(np.arange(n) < 5, target.y + 1, target.y),
        runs=tuple(rng.integers(0, 5, n) for _ in runs),
        again=(rng.integers(0, 5, n),),
        mismatched=0,
        unsteady=0,
    )
    table = tabulate(aimed, Found(runs, (runs[0],), (), None, throughput), answers)
    assert (list(table.labels), list(table.clean)) == (target.y.tolist(), answers.clean.tolist())
    assert [(row.attack, row.eps_steps) for row in table.attacks] == [("Noise", 2), ("Noise", 9)]
    for row, labels in zip((*table.attacks, *table.doubled), (*answers.runs, *answers.again), strict=True):
        assert to_flags(row.broken).tolist() == aimed.broken(labels).tolist()
    figures = count(table)
    assert figures.clean == Rate.of(n - 5, n)


def test_a_network_without_another_class_is_not_attacked_with_a_target() -> None:
    """All samples are of class 0 and get it; the outputs 1 and 2 are copies of its output."""
    rivals = np.array([[False, True, True], [False, False, True], [False, True, False]])
    answers, y = Outputs(np.tile(np.array([[9, 1, 1]], np.int8), (4, 1))), np.zeros(4, np.int64)
    with pytest.raises(BadInputError, match="net: has no class to aim at: it answers class 0 to all"):
        _draw_aims(y, answers, rivals, 0, "net")
    assert set(_draw_aims(y, answers, None, 0, "net")) <= {1, 2}


def test_an_interrupted_crafting_goes_on_where_it_stopped(target: Target, tmp_path: Path) -> None:
    plan, kept = Plan(eps=(1, 2, 4), sanity_eps=64), Store(tmp_path / "campaign.db", "model")
    with pytest.raises(KeyboardInterrupt):
        craft_all(target, plan.balls, (Counting(fail_at=4),), kept, ignore)
    second = Counting()
    resumed, throughput = craft_all(target, plan.balls, (second,), kept, ignore)
    assert second.asked == [4, 64]
    assert (throughput.jobs, throughput.reused, throughput.queries) == (4, 2, 2 * 2 * len(target.x))
    whole, _ = craft_all(target, plan.balls, (Counting(),), Store(tmp_path / "elsewhere", "model"), ignore)
    for a, b in zip(resumed, whole, strict=True):
        assert np.array_equal(a.x, b.x)


def test_the_curve_of_attacks_under_way_is_what_they_have_left(target: Target, tmp_path: Path) -> None:
    """Also where an earlier run had found a part of it; and nothing of it stays when the attacks are over."""
    store, balls = Store(tmp_path / "crafted", "model"), [Ball("Linf", 2), Ball("Linf", 90)]
    craft_all(target, balls[:1], [Noise(2)], store, ignore)
    with following(target, balls, tmp_path) as seen:
        runs, _ = craft_all(target, balls, [Noise(2), Counting()], store, ignore, seen=seen)
        known, kept = seen.record, read_so_far(tmp_path)
    assert kept is not None and kept.points[0].held >= known.points[0].held
    assert read_so_far(tmp_path) is None
    holds = target.predictor.predict(target.x).labels == target.y
    assert (known.samples, known.right, known.jobs) == (len(target.x), holds.sum(), 4)
    for point in known.points:
        for run in (run for run in runs if run.eps <= point.eps_steps):
            holds &= ~target.broken(target.predictor.predict(run.x).labels)
        assert point.held == holds.sum(), point
    assert known.points[-1].held < len(target.x)


@pytest.mark.slow
def test_any_number_of_processes_finds_the_same(tmp_path: Path) -> None:
    """Killed in the middle, and gone on with: chunks that were done are not done again."""
    content = ternary_model()
    bundle = write_bundle(content, tmp_path / "bundle", name="ops")
    x = np.random.default_rng(0).integers(-128, 128, (2 * CHUNK + 5, 8, 8, 3), dtype=np.int8)
    target = Target(Twin(bundle), GradientView(read_graph(content)), x, Twin(bundle).predict(x).labels, seed=1)
    attacks, balls = (Noise(3), Square(9)), [Ball("Linf", 2), Ball("Linf", 4)]

    def stop(done: int, _total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    store = Store(tmp_path / "campaign.db", "model")
    with Workers(2) as workers:
        crew = Crew(workers, bundle.path, 1.0, bundle.manifest.macs)
        with pytest.raises(KeyboardInterrupt):
            craft_all(target, balls, attacks, store, stop, crew)
        kept = jobs(tmp_path / "campaign.db")
        assert len(kept) == 5
        assert multiprocessing.active_children() == []
        runs, throughput = craft_all(target, balls, attacks, store, ignore, crew)
    assert multiprocessing.active_children() == []
    assert (throughput.workers, throughput.jobs, throughput.reused) == (2, 12, 5)
    assert kept.items() <= jobs(tmp_path / "campaign.db").items()
    alone, _ = craft_all(target, balls, attacks, Store(tmp_path / "alone", "model"), ignore)
    for ours, theirs in zip(runs, alone, strict=True):
        assert (ours.attack.name, ours.eps, ours.queries) == (theirs.attack.name, theirs.eps, theirs.queries)
        assert np.array_equal(ours.x, theirs.x)


UNGUARDED = """
import sys
from pathlib import Path
import numpy as np
from tritguard.attack import Ball, Noise, Square, Target
from tritguard.campaign.job import Job
from tritguard.campaign.orders import Crew
from tritguard.campaign.runs import craft_all
from tritguard.campaign.store import Store
from tritguard.campaign.workers import Workers
from tritguard.emit import open_bundle
from tritguard.twin import Twin

print("begun")
bundle = open_bundle(Path(sys.argv[1]))
x = np.random.default_rng(0).integers(-128, 128, (4, *bundle.manifest.input.shape), dtype=np.int8)
target = Target(Twin(bundle), None, x, Twin(bundle).predict(x).labels, seed=1)
with Workers(2) as workers:
    crew = Crew(workers, bundle.path, 1.0, bundle.manifest.macs)
    store = Store(Path("x.db"), "")
    _, made = craft_all(target, [Ball("Linf", 2)], (Noise(3), Square(9)), store, lambda *_: None, crew)
print(made.workers, made.jobs)
"""


def test_processes_do_not_run_the_script_that_starts_them(small_bundle: Bundle, tmp_path: Path) -> None:
    """It has no guard, and would otherwise be run again in each process."""
    (tmp_path / "script.py").write_text(UNGUARDED)
    command = [sys.executable, "script.py", str(small_bundle.path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout) == (0, "begun\n2 2\n"), done.stderr


def test_processes_start_where_there_is_enough_to_do(small_bundle: Bundle) -> None:
    x = inputs(small_bundle, 3)
    target = Target(Twin(small_bundle), None, x, Twin(small_bundle).predict(x).labels, seed=1)
    jobs = [Job(Noise(3), Ball("Linf", eps), target, 0) for eps in (1, 2)]

    def pays(macs: int, workers: Workers, jobs: list[Job] = jobs) -> bool:
        return Crew(workers, small_bundle.path, 1.0, macs).pays(jobs)

    assert not pays(1000, Workers(2, 10.0)) and pays(1000, Workers(2))
    assert pays(10**9, Workers(2, 10.0))
    assert pays(1000, Workers(2, 10.0), jobs * 2000)
    assert not pays(10**9, Workers(1)) and not pays(10**9, Workers(2), jobs[:1])


def test_an_interrupted_live_attack_asks_the_device_nothing_twice(
    small_bundle: Bundle, small_build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = inputs(small_bundle, 8)
    target = Target(Twin(small_bundle), None, x, Twin(small_bundle).predict(x).labels, seed=1)
    balls, attacks = [Ball("Linf", 1), Ball("Linf", 2)], (Square(12), Boundary(12))
    asked, stop_at = 0, 0
    with open_device(small_bundle, small_build) as device:
        blind = plan_live(device, x, balls, Plan(preset="full").suite(10)).attacks
        assert [attack.name for attack in blind] == ["Noise", "Square", "ZOO", "Boundary", "HopSkipJump"]
        budget, answer = plan_live(device, x, balls, attacks), device.predict

        def count(x: Int8, report: Callable[[int, int], None] = ignore) -> Outputs:
            nonlocal asked
            if asked >= stop_at:
                raise KeyboardInterrupt
            asked += len(x)
            return answer(x, report)

        monkeypatch.setattr(device, "predict", count)
        for stop_at in (20, 60, 150):  # noqa: B007 - `count` looks at it
            with pytest.raises(KeyboardInterrupt):
                search_live(device, target, balls, budget, tmp_path / "live", ignore)
            with next((tmp_path / "live").glob("*.answers")).open("ab") as log:
                log.write(b"\x93NUMPY half a rec")  # as a kill in the middle of writing leaves it
        stop_at = 1 << 30
        found = search_live(device, target, balls, budget, tmp_path / "live", ignore)
    runs, throughput = craft_all(target, balls, attacks, Store(tmp_path / "twin", ""), ignore)
    assert asked == throughput.queries > 150
    for ours, theirs in zip(found.runs, runs, strict=True):
        assert (ours.queries, ours.attack.name) == (theirs.queries, theirs.attack.name)
        assert np.array_equal(ours.x, theirs.x)
    assert not list((tmp_path / "live").glob("*.answers"))


def test_what_was_crafted_for_something_else_is_not_used(target: Target, tmp_path: Path) -> None:
    plan = Plan(eps=(1,), sanity_eps=64)
    for identity, seed in (("a", 1), ("b", 1), ("a", 2)):
        counting = Counting()
        craft_all(
            replace(target, seed=seed), plan.balls, (counting,), Store(tmp_path / "campaign.db", identity), ignore
        )
        assert counting.asked == [1, 64]


def test_what_other_code_crafted_is_not_used(target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, asked = Plan(eps=(1,), sanity_eps=64), []
    for code in (store.sources(), store.sources(), "other"):
        monkeypatch.setattr(store, "sources", lambda code=code: code)
        counting = Counting()
        craft_all(target, plan.balls, (counting,), Store(tmp_path / "campaign.db", ""), ignore)
        asked.append(counting.asked)
    assert asked == [[1, 64], [], [1, 64]]


def test_a_damaged_store_is_crafted_anew(target: Target, tmp_path: Path) -> None:
    plan = Plan(eps=(1,), sanity_eps=64)
    path = tmp_path / "campaign.db"

    def crafted() -> tuple[list[int], int, list[Int8]]:
        counting = Counting()
        store = Store(path, "a")
        runs, throughput = craft_all(target, plan.balls, (counting,), store, ignore)
        store.close()
        return counting.asked, throughput.refused, [run.x for run in runs]

    _, _, first = crafted()
    whole = path.read_bytes()
    cut, noise = whole[: len(whole) // 2], whole[:4096] + bytes(len(whole) - 4096)
    for content in (cut, noise, b"no database" * 1000):
        path.write_bytes(content)
        asked, refused, again = crafted()
        assert (sorted(asked), refused) == ([1, 64], 1)
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
        assert Path(f"{path}.damaged").exists()
        assert crafted()[:2] == ([], 0)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.usefixtures("all_packages")
def test_presets_name_real_attacks_and_settings(preset: Preset) -> None:
    plan = Plan(preset=preset)
    known = [name for name in PRESETS[preset] if ATTACKS[name].knows(plan.norm)]
    assert [type(attack) for attack in plan.suite(10)] == [type(make(name, {})) for name in known]
    assert len(plan.suite(2)) <= len(plan.suite(10))
    assert len(plan.budgets_for(2)) == len(plan.suite(2))  # what a report lists is what ran


@pytest.mark.usefixtures("all_packages")
def test_the_full_preset_is_as_strong_as_autoattack() -> None:
    """AutoAttack's standard version: 100 steps of APGD-CE and, to 9 classes, APGD-T; 5,000 queries of Square."""
    suite = {attack.name: attack.parameters for attack in Plan(preset="full").suite(10)}
    assert int(suite["APGD-CE"]["steps"]) >= 100
    assert int(suite["APGD-T"]["steps"]) >= 100 and int(suite["APGD-T"]["targets"]) >= 9
    assert int(suite["Square"]["queries"]) >= 5000


@pytest.mark.usefixtures("all_packages")
def test_attacks_that_do_not_know_the_norm_are_left_out_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ATTACKS, "square", Entry(Square, norms=("Linf",)))
    l2 = Plan(preset="quick", norm="L2", sanity_eps=500).suite(10)
    assert [attack.name for attack in l2] == ["Noise", "FGSM", "PGD", "APGD-CE", "HopSkipJump"]
    with pytest.raises(ValidationError, match="square knows no L2 ball"):
        Plan(attacks=("square",), norm="L2", sanity_eps=500)


def test_attacks_say_what_leads_them() -> None:
    """By it the checks compare attacks, twice the steps are tried, and a device is attacked."""
    attacks = {name: make(name, {}) for name in ATTACKS}
    assert all(("gradient" in attack.follows) == (attack.kind == "white box") for attack in attacks.values())
    assert attacks["fgsm"].follows == "one gradient" and attacks["two-step"].follows == "gradients and answers"
    asking = {name for name, attack in attacks.items() if isinstance(attack, Asking)}
    assert asking >= {"noise", "square", "zoo", "boundary", "hopskipjump"}
    assert not any("gradient" in attacks[name].follows for name in asking), "a device has none; two-step wants both"


@pytest.mark.parametrize(
    ("attacks", "expected"),
    [
        (("apgd-ce", "pgd"), ("APGD-CE", 14)),
        (("pgd", "noise", "fgsm"), ("PGD", 10)),
        (("apgd-dlr", "cw", "square"), None),
    ],
)
@pytest.mark.usefixtures("all_packages")
def test_the_iterated_attack_is_run_with_twice_its_steps(
    attacks: tuple[str, ...], expected: tuple[str, int] | None
) -> None:
    settings = {name: {"steps": steps} for name, steps in {"pgd": 5, "apgd-ce": 7}.items() if name in attacks}
    doubled = Plan(attacks=attacks, settings=settings).doubled()
    assert (None if doubled is None else (doubled.name, doubled.parameters["steps"])) == expected


@pytest.mark.usefixtures("all_packages")
def test_a_plan_names_its_attacks_and_their_settings() -> None:
    plan = Plan(preset="quick", attacks=("square", "apgd-ce"), settings={"square": {"queries": 7}})
    square, apgd = plan.suite(10)
    assert (square.name, square.parameters["queries"]) == ("Square", 7)
    assert apgd.name == "APGD-CE"


def test_settings_of_attacks_can_be_given_on_the_command_line() -> None:
    plan = make_plan(
        samples=9, preset="quick", attacks="square,noise", eps="1,2", seed=0, goal="untargeted", access="logits",
        budgets=["square.queries=7", "square.p_init=0.5"],
    )  # fmt: skip
    assert plan.suite(10)[0].parameters == {**Square(7, 0.5).parameters}
    for budget, message in (("square=7", "ATTACK.SETTING=VALUE"), ("pgd.steps=7", "does not run")):
        with pytest.raises(BadInputError, match=message):
            make_plan(
                samples=9, preset="quick", attacks="square", eps="1", seed=0, goal="untargeted", access="logits",
                budgets=[budget],
            )  # fmt: skip


def test_the_norm_and_the_sanity_bound_can_be_given_on_the_command_line() -> None:
    given = partial(
        make_plan, samples=9, preset="quick", attacks="", seed=0, goal="untargeted", access="logits", budgets=[]
    )
    assert given(eps="1,2") == Plan(samples=9, preset="quick", eps=(1, 2))
    assert given(eps="1,2", sanity_eps=200).bounds == (1, 2, 200)
    l2 = given(eps="100", norm="L2", sanity_eps=2000)
    assert (l2.norm, l2.bounds) == ("L2", (100, 2000))
    for options, message in (({"norm": "L2"}, "L2 needs --sanity-eps"), ({"norm": "L7"}, "no norm 'L7'")):
        with pytest.raises(BadInputError, match=message):
            given(eps="100", **options)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"attacks": ["nope"]}, "no attack 'nope'"),
        ({"attacks": ["pgd", "pgd"]}, "twice"),
        ({"attacks": ["pgd"], "settings": {"square": {"queries": 7}}}, "settings of square"),
        ({"settings": {"pgd": {"queries": 7}}}, "pgd has no setting 'queries'"),
        ({"settings": {"pgd": {"steps": 0}}}, "pgd.steps: 0 is out of range"),
        ({"settings": {"pgd": {"steps": 2.5}}}, "pgd.steps: a whole number"),
        ({"settings": {"cw": {"rate": -1.0}}}, "out of range"),
    ],
)
def test_a_plan_that_cannot_run_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Plan.model_validate(fields)


@pytest.mark.parametrize("eps", [(), (0, 1), (2, 1), (1, 1)])
def test_bounds_have_to_rise(eps: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="rising whole numbers"):
        Plan(eps=eps)


def test_the_sanity_bound_is_beyond_the_threat_model() -> None:
    assert Plan(eps=(1, 16)).bounds == (1, 16, 64)
    assert Plan(eps=(1, 100)).bounds == (1, 100, 200)
    assert Plan(eps=(254,)).bounds == (254, 255)
    with pytest.raises(ValidationError, match="above the largest eps, 8"):
        Plan(eps=(1, 8), sanity_eps=8)
    with pytest.raises(ValidationError, match="above 255"):
        Plan(eps=(1, 8), sanity_eps=256)
    with pytest.raises(ValidationError, match="above 255"):
        Plan(eps=(255,))
    with pytest.raises(ValidationError, match="L2 needs --sanity-eps"):
        Plan(norm="L2", eps=(100,))


def test_the_control_trained_along_has_no_defence() -> None:
    table = {"epochs": 2, "adversarial": {"attack": "pgd"}, "jacobian": {"output": 0.1}}
    undefended = TrainConfig.model_validate({"epochs": 2, "quantize": {"weights": "none"}})
    assert TrainConfig.model_validate(table).undefended == undefended
