"""Plans, crafting that resumes, and the checks that say whether a number can be believed."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tests.support.device_support import inputs
from tests.support.known_models import ternary_model
from tritguard.attack import Asking, Attack, Ball, Boundary, Crafted, Noise, Square, Target
from tritguard.attack.base import Kind
from tritguard.attack.catalog import ATTACKS, Entry, make
from tritguard.attack.view import GradientView
from tritguard.build import Build
from tritguard.cli.attack import make_plan
from tritguard.data import Dataset, write_dataset
from tritguard.device import open_device
from tritguard.emit import Bundle, write_bundle
from tritguard.errors import BadInputError
from tritguard.evaluate.crafting import store
from tritguard.evaluate.crafting.runs import CHUNK, craft_all
from tritguard.evaluate.crafting.store import Store
from tritguard.evaluate.crafting.workers import Workers
from tritguard.evaluate.robustness.checks import CHECKS, Evidence, check
from tritguard.evaluate.robustness.figures import AttackRow, Control, CurvePoint
from tritguard.evaluate.robustness.live import plan_live, search_live
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.presets import PRESETS, Preset
from tritguard.evaluate.robustness.result import read_result
from tritguard.evaluate.study import Rate
from tritguard.graph import read_graph
from tritguard.predictor import Int8, Outputs
from tritguard.train import TrainConfig
from tritguard.twin import Twin

pytest_plugins = ["tests.support.device_fixtures"]


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


@pytest.fixture
def target(tmp_path: Path) -> Target:
    bundle = write_bundle(ternary_model(), tmp_path / "bundle", name="ops")
    x = np.random.default_rng(0).integers(-128, 128, (20, 8, 8, 3), dtype=np.int8)
    twin = Twin(bundle)
    return Target(twin, None, x, twin.predict(x).labels, seed=1)


def ignore(_done: int, _total: int) -> None:
    pass


def test_an_interrupted_crafting_goes_on_where_it_stopped(target: Target, tmp_path: Path) -> None:
    plan, kept = Plan(eps=(1, 2, 4), sanity_eps=64), Store(tmp_path / "crafted", "model")
    with pytest.raises(KeyboardInterrupt):
        craft_all(target, plan.balls, (Counting(fail_at=4),), kept, ignore)
    second = Counting()
    resumed, throughput = craft_all(target, plan.balls, (second,), kept, ignore)
    assert second.asked == [4, 64]
    assert (throughput.jobs, throughput.reused, throughput.queries) == (4, 2, 2 * 2 * len(target.x))
    whole, _ = craft_all(target, plan.balls, (Counting(),), Store(tmp_path / "elsewhere", "model"), ignore)
    for a, b in zip(resumed, whole, strict=True):
        assert np.array_equal(a.x, b.x)


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

    store, workers = Store(tmp_path / "crafted", "model"), Workers(2, bundle.path, 1.0)
    with pytest.raises(KeyboardInterrupt):
        craft_all(target, balls, attacks, store, stop, workers)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "crafted").iterdir()}
    assert len(kept) == 5
    assert multiprocessing.active_children() == []
    runs, throughput = craft_all(target, balls, attacks, store, ignore, workers)
    assert (throughput.workers, throughput.jobs, throughput.reused) == (2, 12, 5)
    assert all(path.stat().st_mtime_ns == changed for path, changed in kept.items())
    alone, _ = craft_all(target, balls, attacks, Store(tmp_path / "alone", "model"), ignore)
    for ours, theirs in zip(runs, alone, strict=True):
        assert (ours.attack.name, ours.eps, ours.queries) == (theirs.attack.name, theirs.eps, theirs.queries)
        assert np.array_equal(ours.x, theirs.x)


def test_a_killed_attack_leaves_no_process_and_loses_no_job(
    small_bundle: Bundle, small_build: Build, tmp_path: Path
) -> None:
    """SIGKILL, which nothing can handle: workers and emulator end, and the next start does what is missing alone."""
    x = inputs(small_bundle, 2 * CHUNK + 10)
    data = Dataset("noise", x, Twin(small_bundle).predict(x).labels, tuple("abcde"), "steps", "none")
    write_dataset(tmp_path / "data.npz", data)
    command = [sys.executable, "-m", "tritguard", "attack", str(small_bundle.path), str(small_build.path)]
    command += ["--data", str(tmp_path / "data.npz"), "--out", str(tmp_path), "-n", str(len(x)), "--eps", "1"]
    command += ["--attacks", "noise,square", "--set", "square.queries=400", "--workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("crafted/*.npz"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    started = descendants(process.pid)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    names = [name for name, _ in started.values()]
    assert any("qemu" in name for name in names) and sum("python" in name for name in names) >= 2
    while left := {pid for pid, known in started.items() if descendants(1, everyone=True).get(pid) == known}:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("crafted/*.npz")}
    assert 2 <= len(kept) < 12
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr  # 1: nothing can be said of a net of random weights
    result = read_result(tmp_path / "result.json")
    assert result.throughput is not None
    assert (result.throughput.jobs, result.throughput.reused) == (12, len(kept))
    assert len(list(tmp_path.glob("crafted/*.npz"))) == 12
    assert all(path.stat().st_mtime_ns == changed for path, changed in kept.items())


def descendants(ancestor: int, *, everyone: bool = False) -> dict[int, tuple[str, str]]:
    """Name and start of each living process that one started, and that those started; of all processes if asked."""
    found, parents = {}, {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, fields = status.read_text().split("(", 1)[1].rsplit(")", 1)
        except OSError:
            continue
        state, parent, *rest = fields.split()
        if state != "Z":
            pid = int(status.parent.name)
            found[pid], parents[pid] = (name, rest[17]), int(parent)

    def below(pid: int) -> bool:
        return pid in parents and (parents[pid] == ancestor or below(parents[pid]))

    return {pid: known for pid, known in found.items() if everyone or below(pid)}


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
        craft_all(replace(target, seed=seed), plan.balls, (counting,), Store(tmp_path / "crafted", identity), ignore)
        assert counting.asked == [1, 64]


def test_what_other_code_crafted_is_not_used(target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, asked = Plan(eps=(1,), sanity_eps=64), []
    for code in (store.sources(), store.sources(), "other"):
        monkeypatch.setattr(store, "sources", lambda code=code: code)
        counting = Counting()
        craft_all(target, plan.balls, (counting,), Store(tmp_path / "crafted", ""), ignore)
        asked.append(counting.asked)
    assert asked == [[1, 64], [], [1, 64]]


def test_a_damaged_store_is_crafted_anew(target: Target, tmp_path: Path) -> None:
    plan = Plan(eps=(1,), sanity_eps=64)
    folder = tmp_path / "crafted"
    first, _ = craft_all(target, plan.balls, (Counting(),), Store(folder, "a"), ignore)
    files = sorted(folder.iterdir())
    files[0].write_bytes(files[0].read_bytes()[:100])
    files[1].write_bytes(b"")
    counting = Counting()
    again, _ = craft_all(target, plan.balls, (counting,), Store(folder, "a"), ignore)
    assert sorted(counting.asked) == [1, 64]
    assert all(np.array_equal(a.x, b.x) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_name_real_attacks_and_settings(preset: Preset) -> None:
    plan = Plan(preset=preset)
    assert [type(attack) for attack in plan.suite(10)] == [type(make(name, {})) for name in PRESETS[preset]]
    assert len(plan.suite(2)) <= len(plan.suite(10))
    assert len(plan.budgets_for(2)) == len(plan.suite(2))  # what a report lists is what ran


def test_the_full_preset_is_as_strong_as_autoattack() -> None:
    """AutoAttack's standard version: 100 steps of APGD-CE and, to 9 classes, APGD-T; 5,000 queries of Square."""
    suite = {attack.name: attack.parameters for attack in Plan(preset="full").suite(10)}
    assert int(suite["APGD-CE"]["steps"]) >= 100
    assert int(suite["APGD-T"]["steps"]) >= 100 and int(suite["APGD-T"]["targets"]) >= 9
    assert int(suite["Square"]["queries"]) >= 5000


def test_attacks_that_do_not_know_the_norm_are_left_out_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ATTACKS, "square", Entry(Square, norms=("Linf",)))
    l2 = Plan(preset="quick", norm="L2", sanity_eps=500).suite(10)
    assert [attack.name for attack in l2] == ["Noise", "FGSM", "PGD"]
    with pytest.raises(ValidationError, match="square knows no L2 ball"):
        Plan(attacks=("square",), norm="L2", sanity_eps=500)


def test_attacks_say_what_leads_them() -> None:
    """By it the checks compare attacks, twice the steps are tried, and a device is attacked."""
    attacks = {name: make(name, {}) for name in ATTACKS}
    assert all(("gradient" in attack.follows) == (attack.kind == "white box") for attack in attacks.values())
    assert {name for name, attack in attacks.items() if attack.follows != "gradients"} == {
        "noise", "fgsm", "two-step", "square", "zoo", "boundary", "hopskipjump",
    }  # fmt: skip
    assert attacks["fgsm"].follows == "one gradient" and attacks["two-step"].follows == "gradients and answers"
    asking = {name for name, attack in attacks.items() if isinstance(attack, Asking)}
    assert asking == {"noise", "square", "zoo", "boundary", "hopskipjump"}  # not two-step, which has queries too


@pytest.mark.parametrize(
    ("attacks", "expected"),
    [
        (("apgd-ce", "pgd"), ("APGD-CE", 14)),
        (("pgd", "noise", "fgsm"), ("PGD", 10)),
        (("apgd-dlr", "cw", "square"), None),
    ],
)
def test_the_iterated_attack_is_run_with_twice_its_steps(
    attacks: tuple[str, ...], expected: tuple[str, int] | None
) -> None:
    settings = {name: {"steps": steps} for name, steps in {"pgd": 5, "apgd-ce": 7}.items() if name in attacks}
    doubled = Plan(attacks=attacks, settings=settings).doubled()
    assert (None if doubled is None else (doubled.name, doubled.parameters["steps"])) == expected


def test_an_attack_that_follows_answers_too_hides_no_masked_gradients() -> None:
    """Noise beats PGD; a walk that breaks everything, taking gradients along the way, does not make up for it."""
    doubted = with_rows(row("Noise", "baseline", 1, 20))
    walk = replace(
        doubted,
        rows=(*doubted.rows, *(row("Walk", "white box", eps, 0) for eps in (1, 8, 64))),
        follows={**doubted.follows, "Walk": "gradients and answers"},
    )
    assert codes(walk) == {"NOISE_BEATS_GRADIENTS": "invalid"}


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
    with pytest.raises(ValidationError, match="L2 needs a sanity_eps"):
        Plan(norm="L2", eps=(100,))


def row(attack: str, kind: Kind, eps: int, k: int, n: int = 200) -> AttackRow:
    return AttackRow(
        attack=attack, kind=kind, eps_steps=eps, robust=Rate.of(k, n), parameters={}, queries_per_sample=1,
        gradients_per_sample=1, seconds=1,
    )  # fmt: skip


def evidence() -> Evidence:
    """A run without a doubt: clean 90 %, broken by gradients."""
    points = [(1, 60), (8, 4), (64, 0)]
    curve = tuple(CurvePoint(eps_steps=eps, eps_input=eps / 255, robust=Rate.of(k, 200)) for eps, k in points)
    rows = tuple(
        row(attack, kind, eps, k)
        for eps, counts in ((1, (160, 90, 62, 120)), (8, (130, 30, 4, 60)), (64, (10, 20, 0, 0)))
        for (attack, kind), k in zip(
            [("Noise", "baseline"), ("FGSM", "white box"), ("PGD", "white box"), ("Square", "black box")],
            counts,
            strict=True,
        )
    )
    held = Rate.of(5, 200)
    return Evidence(
        clean=Rate.of(180, 200),
        curve=curve,
        headline=curve[1],
        rows=rows,
        follows={"Noise": "answers", "FGSM": "one gradient", "PGD": "gradients", "Square": "answers"},
        classes=10,
        shown="logits",
        softmax_head=True,
        mismatched_inputs=0,
        unsteady_inputs=0,
        zero_gradients=0.0,
        saturated=0.0,
        plateaus=0.0,
        doubled=0.0,
        control=Control(name="control", model_sha256="a", eps_steps=8, clean=Rate.of(181, 200), robust=held),
    )


def codes(evidence: Evidence) -> dict[str, str]:
    return {issue.code: issue.severity for issue in check(evidence)[0]}


def with_rows(*changed: AttackRow) -> Evidence:
    old = evidence()
    keys = {(r.attack, r.eps_steps): r for r in changed}
    return replace(old, rows=tuple(keys.get((r.attack, r.eps_steps), r) for r in old.rows))


def test_a_sound_run_raises_nothing() -> None:
    assert codes(evidence()) == {}


def test_a_mismatch_invalidates() -> None:
    assert codes(replace(evidence(), mismatched_inputs=1)) == {"DEVICE_TWIN_MISMATCH": "invalid"}


def test_guessing_on_clean_inputs_invalidates() -> None:
    assert codes(replace(evidence(), clean=Rate.of(22, 200))) == {"CLEAN_AT_CHANCE": "invalid"}


def test_surviving_a_huge_eps_invalidates() -> None:
    old = evidence()
    curve = (*old.curve[:-1], CurvePoint(eps_steps=64, eps_input=0.25, robust=Rate.of(21, 200)))
    assert codes(replace(old, curve=curve)) == {"LARGE_EPS_ABOVE_CHANCE": "invalid"}


def test_every_check_passes_fails_or_was_not_made() -> None:
    issues, passed = check(evidence())
    assert not issues
    # No transfer was run: the one check that could not be made.
    assert {one.code for one in CHECKS} - set(passed) == {"TRANSFER_BEATS_WHITE_BOX"}
    labels = replace(evidence(), shown="labels", plateaus=None, doubled=None, rows=())
    assert not {"SCORE_PLATEAUS", "TOO_FEW_STEPS", "NO_LOGITS", "SOFTMAX_HEAD", "EPS_NOT_MONOTONE"} & {
        *check(labels)[1]
    }


def test_the_undefended_control_has_to_be_there_to_work_and_to_break() -> None:
    old = evidence()
    assert codes(replace(old, control=None)) == {"NO_CONTROL": "warn"}
    assert old.control is not None
    guessing = old.control.model_copy(update={"clean": Rate.of(20, 200)})
    assert codes(replace(old, control=guessing)) == {"NO_CONTROL": "warn"}
    holding = old.control.model_copy(update={"robust": Rate.of(60, 200)})
    assert codes(replace(old, control=holding)) == {"CONTROL_NOT_BROKEN": "invalid"}


def test_the_control_trained_along_has_no_defence() -> None:
    table = {"epochs": 2, "adversarial": {"attack": "pgd"}, "jacobian": {"output": 0.1}}
    undefended = TrainConfig.model_validate({"epochs": 2, "quantize": {"weights": "none"}})
    assert TrainConfig.model_validate(table).undefended == undefended


def test_gradients_that_noise_beats_invalidate() -> None:
    assert codes(with_rows(row("Noise", "baseline", 1, 20))) == {"NOISE_BEATS_GRADIENTS": "invalid"}


def test_another_answer_to_the_same_question_invalidates() -> None:
    assert codes(replace(evidence(), unsteady_inputs=1)) == {"NONDETERMINISTIC": "invalid"}


@pytest.mark.parametrize(
    ("doubted", "code"),
    [
        (with_rows(row("Square", "black box", 1, 20)), "BLACK_BOX_BEATS_WHITE_BOX"),
        (with_rows(row("FGSM", "white box", 1, 20)), "ONE_STEP_BEATS_ITERATED"),
        (with_rows(row("PGD", "white box", 8, 110), row("FGSM", "white box", 8, 100)), "EPS_NOT_MONOTONE"),
        (with_rows(row("FGSM", "transfer", 8, 0), row("PGD", "white box", 8, 30)), "TRANSFER_BEATS_WHITE_BOX"),
        (replace(evidence(), zero_gradients=0.2), "ZERO_GRADIENTS"),
        (replace(evidence(), saturated=0.2), "SATURATED_LOGITS"),
        (replace(evidence(), plateaus=0.2), "SCORE_PLATEAUS"),
        (replace(evidence(), doubled=0.03), "TOO_FEW_STEPS"),
        (replace(evidence(), rows=tuple(row for row in evidence().rows if row.kind != "white box")), "NO_GRADIENTS"),
        (replace(evidence(), shown="scores"), "NO_LOGITS"),
        (replace(evidence(), shown="scores"), "SOFTMAX_HEAD"),
        (replace(evidence(), clean=Rate.of(45, 50)), "FEW_SAMPLES"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_doubts_degrade(doubted: Evidence, code: str) -> None:
    assert codes(doubted).get(code) == "warn"
