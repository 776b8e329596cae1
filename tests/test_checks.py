"""The checks of an evaluation: which doubt each raises, and which of them a sound run raises."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tritguard.attack.base import Follows, Kind
from tritguard.attack.repaired import Repaired
from tritguard.evaluate.robustness.checks import CHECKS, check
from tritguard.evaluate.robustness.evidence import Evidence
from tritguard.evaluate.robustness.figures import AttackRow, Control, CurvePoint, Fidelity, Growth, Symptoms
from tritguard.evaluate.robustness.significance import chance, guesses, mcnemar
from tritguard.evaluate.study import Rate


def row(attack: str, kind: Kind, eps: int, k: int, n: int = 200) -> AttackRow:
    return AttackRow(
        attack=attack, kind=kind, eps_steps=eps, robust=Rate.of(k, n), parameters={}, queries_per_sample=1,
        gradients_per_sample=1, seconds=1,
    )  # fmt: skip


def first(k: int, n: int = 200) -> np.ndarray:
    """The first k of n samples."""
    return np.arange(n) < k


def holds(rows: Iterable[AttackRow]) -> dict[tuple[str, int], np.ndarray]:
    """Under each attack the first samples hold, so that a stronger one breaks all that a weaker one does."""
    return {(row.attack, row.eps_steps): first(row.robust.k, row.robust.n) for row in rows}


ATTACKS: dict[str, tuple[Kind, Follows]] = {
    "Noise": ("baseline", "scores"),
    "FGSM": ("white box", "one gradient"),
    "PGD": ("white box", "gradients"),
    "Square": ("black box", "scores"),
    "Jump": ("black box", "decisions"),
    "Transfer": ("transfer", "scores"),
}


def led(eps: int, held: int, astray: int = 0, lost: int = 0) -> Fidelity:
    """What gradients are worth on the samples that hold at this eps."""
    return Fidelity(
        eps_steps=eps, held=held, astray=astray, rough=0, repaired=astray > 0, left=held, lost=lost
    )  # fmt: skip


def evidence() -> Evidence:
    """A run without a doubt: clean 90 %, broken by gradients."""
    points = [(1, 60), (8, 4), (64, 0)]
    curve = tuple(CurvePoint(eps_steps=eps, eps_input=eps / 255, robust=Rate.of(k, 200)) for eps, k in points)
    rows = tuple(
        row(attack, kind, eps, k)
        for eps, counts in (
            (1, (160, 90, 62, 120, 150, 155)),
            (8, (130, 30, 4, 60, 80, 90)),
            (64, (10, 20, 0, 0, 5)),  # nothing is transferred there
        )
        for (attack, (kind, _)), k in zip(ATTACKS.items(), counts, strict=False)
    )
    held = Rate.of(5, 200)
    return Evidence(
        clean=Rate.of(180, 200),
        curve=curve,
        headline=curve[1],
        rows=rows,
        holds=holds(rows),
        follows={name: follows for name, (_, follows) in ATTACKS.items()},
        starts=dict.fromkeys(ATTACKS, 1) | {"PGD": 2},
        chance=0.1,
        guesses=False,
        symptoms=Symptoms(
            shown="logits",
            softmax_head=True,
            unsteady_inputs=0,
            zero_gradients=0.0,
            saturated=0.0,
            plateaus=0.0,
            control_guesses=False,
            fidelity=tuple(led(eps, k) for eps, k in points),
        ),
        mismatched_inputs=0,
        doubled={1: 0.0, 8: 0.0},
        growths=(),
        control=Control(name="control", model_sha256="a", eps_steps=8, clean=Rate.of(181, 200), robust=held),
    )


def seen(old: Evidence, **symptoms: object) -> Evidence:
    """The same with other symptoms."""
    return replace(old, symptoms=old.symptoms.model_copy(update=symptoms))


def codes(evidence: Evidence) -> dict[str, str]:
    return {issue.code: issue.severity for issue in check(evidence).issues}


def doubts(evidence: Evidence) -> dict[str, str]:
    """The codes without the one that says what these few rows lack."""
    return {code: severity for code, severity in codes(evidence).items() if code != "LITTLE_EVIDENCE"}


def of_rows(old: Evidence, rows: Iterable[AttackRow]) -> Evidence:
    rows = tuple(rows)
    return replace(old, rows=rows, holds=holds(rows))


def without(old: Evidence, attack: str) -> Evidence:
    return of_rows(old, (row for row in old.rows if row.attack != attack))


def with_rows(*changed: AttackRow, old: Evidence | None = None) -> Evidence:
    old, keys = old or evidence(), {(r.attack, r.eps_steps): r for r in changed}
    return of_rows(old, (keys.get((r.attack, r.eps_steps), r) for r in old.rows))


SIGNS: dict[str, Callable[[Evidence], Evidence]] = {
    "zero gradients": lambda old: seen(old, zero_gradients=0.2),
    "plateaus": lambda old: seen(old, plateaus=0.2),
    "too few steps": lambda old: replace(old, doubled={8: 0.03}),
    "gradients that had to be repaired": lambda old: seen(old, fidelity=(led(8, 20, 10),)),
    "no doubling": lambda old: replace(old, doubled={}),
    "a softmax alone is seen": lambda old: seen(old, shown="scores"),
    "no iterated gradients": lambda old: without(old, "PGD"),
    "no black box": lambda old: without(without(old, "Square"), "Jump"),
    "noise beats gradients": lambda old: with_rows(row("Noise", "baseline", 1, 20), old=old),
    "a black box beats gradients": lambda old: with_rows(row("Square", "black box", 1, 20), old=old),
    "gradients that lead nowhere": lambda old: seen(old, fidelity=(led(8, 60, 40, 30),)),
    "a transfer beats gradients": lambda old: with_rows(
        row("Transfer", "transfer", 8, 0), row("PGD", "white box", 8, 30), old=old
    ),
    "one step beats many": lambda old: with_rows(row("FGSM", "white box", 1, 20), old=old),
    "more is left at a larger eps": lambda old: with_rows(
        row("PGD", "white box", 8, 110), row("FGSM", "white box", 8, 100), old=old
    ),
    "a black box finds more there": lambda old: with_rows(
        row("PGD", "white box", 64, 100), row("Square", "black box", 64, 95), old=old
    ),
}


def test_a_sound_run_raises_nothing() -> None:
    assert codes(evidence()) == {}


def test_a_mismatch_invalidates() -> None:
    assert codes(replace(evidence(), mismatched_inputs=1)) == {"DEVICE_TWIN_MISMATCH": "invalid"}
    assert codes(replace(evidence(), disagreed=("COM1",))) == {"BOARDS_DISAGREE": "invalid"}


def test_guessing_on_clean_inputs_invalidates() -> None:
    assert codes(replace(evidence(), guesses=True)) == {"CLEAN_AT_CHANCE": "invalid"}


def test_every_check_passes_fails_or_was_not_made_and_says_why() -> None:
    verdict = check(evidence())
    assert not verdict.issues and not verdict.unmade
    (unmade,) = check(without(evidence(), "Transfer")).unmade
    assert unmade.code == "TRANSFER_BEATS_WHITE_BOX"
    assert unmade.reason == "no eps was attacked by transfer and by all gradient attacks"
    assert set(verdict.passed) == {one.code for one in CHECKS}
    labels = check(replace(seen(evidence(), shown="labels", plateaus=None), doubled={}, rows=(), control=None))
    listed = {one.code: one.reason for one in labels.unmade}
    assert {"SCORE_PLATEAUS", "TOO_FEW_STEPS", "NO_LOGITS", "SOFTMAX_HEAD", "EPS_NOT_MONOTONE"} < set(listed)
    assert listed["CONTROL_NOT_BROKEN"] == "no control was given" and all(listed.values())
    for made in (labels, verdict):
        found = {issue.code for issue in made.issues}
        assert sorted([*found, *made.passed, *(one.code for one in made.unmade)]) == sorted(one.code for one in CHECKS)


def test_the_undefended_control_has_to_be_there_to_work_and_to_break() -> None:
    old = evidence()
    assert codes(replace(without(old, "Transfer"), control=None)) == {"NO_CONTROL": "warn", "LITTLE_EVIDENCE": "warn"}
    assert codes(seen(old, control_guesses=True)) == {"NO_CONTROL": "warn"}
    assert old.control is not None
    held = replace(old, control=old.control.model_copy(update={"robust": Rate.of(60, 200)}))
    assert codes(held) == {"CONTROL_HOLDS": "warn"}
    for sign in SIGNS.values():
        found = codes(sign(held))
        assert found["CONTROL_NOT_BROKEN"] == "invalid" and "CONTROL_HOLDS" not in found
    barely = old.control.model_copy(update={"robust": Rate.of(21, 200)})  # 10.5 %, which 10 % explains
    assert codes(replace(old, control=barely)) == {}


def test_gradients_that_noise_beats_invalidate() -> None:
    assert codes(with_rows(row("Noise", "baseline", 1, 20))) == {"NOISE_BEATS_GRADIENTS": "invalid"}


def test_gradients_that_lead_nowhere_invalidate_and_repaired_ones_degrade() -> None:
    """What is lost counts against all samples, because a headline flatters by no more, and against those that hold."""
    assert codes(seen(evidence(), fidelity=(led(8, 60, 40, 30),)))["GRADIENTS_LEAD_NOWHERE"] == "invalid"
    assert codes(seen(evidence(), fidelity=(led(8, 60, 40, 4),))) == {"GRADIENTS_REPAIRED": "warn"}
    assert codes(seen(evidence(), fidelity=(led(8, 60, 6, 6),))) == {"GRADIENTS_IN_DOUBT": "warn"}
    assert codes(seen(evidence(), fidelity=(led(8, 60, 4, 4),))) == {}
    assert codes(seen(evidence(), fidelity=(led(64, 60, 40, 40),))) == {"GRADIENTS_REPAIRED": "warn"}  # no claim there
    (issue,) = check(seen(evidence(), fidelity=(led(8, 60, 40, 4),))).issues
    assert issue.message.startswith("at eps 8 the gradients of 40 of the 60 samples that held led nowhere")


def test_gradients_that_fail_where_no_repair_is_made_are_little_evidence() -> None:
    """As in balls that are no Lp balls."""
    old = led(8, 60, 40, 4).model_copy(update={"failed": True})
    assert "LITTLE_EVIDENCE" not in codes(seen(evidence(), fidelity=(old,)))
    found = check(seen(evidence(), fidelity=(old.model_copy(update={"repaired": False}),))).issues
    messages = {issue.code: issue.message for issue in found}
    assert messages["LITTLE_EVIDENCE"].endswith("not tried: attacks along repaired gradients at eps 8")
    assert "led nowhere; no attack follows repaired ones in balls of this norm" in messages["GRADIENTS_REPAIRED"]
    beyond = old.model_copy(update={"repaired": False, "eps_steps": 64})
    assert "LITTLE_EVIDENCE" not in codes(seen(evidence(), fidelity=(beyond,)))  # no claim there


def test_what_falls_to_repaired_gradients_alone_degrades() -> None:
    """Also where nothing was wrong with the gradients of what held: 30 of 200 samples hold under all else there."""
    old = seen(evidence(), fidelity=(led(8, 30),))
    held = {**old.holds, ("PGD", 8): first(30), ("Square", 8): first(60), (Repaired.name, 8): first(20)}
    row_of = row(Repaired.name, "white box", 8, 20)
    rows = (*old.rows, row_of)
    more = replace(
        old,
        rows=rows,
        holds=held,
        follows={**old.follows, Repaired.name: "gradients and answers"},
        starts={**old.starts, Repaired.name: 5},
    )
    (issue,) = (one for one in check(more).issues if one.code == "GRADIENTS_REPAIRED")
    assert issue.message.startswith("at eps 8 repaired gradients break 5.0% of the samples")


def test_repaired_gradients_with_twice_the_steps_show_that_there_were_too_few() -> None:
    old = led(8, 30)
    assert codes(seen(evidence(), fidelity=(old.model_copy(update={"gained": 4}),))) == {}
    assert codes(seen(evidence(), fidelity=(old.model_copy(update={"gained": 5}),))) == {"TOO_FEW_STEPS": "warn"}


def test_another_answer_to_the_same_question_invalidates() -> None:
    assert codes(seen(evidence(), unsteady_inputs=1)) == {"NONDETERMINISTIC": "invalid"}


@pytest.mark.parametrize(
    ("doubted", "code"),
    [
        (with_rows(row("Square", "black box", 1, 20)), "BLACK_BOX_BEATS_WHITE_BOX"),
        (with_rows(row("FGSM", "white box", 1, 20)), "ONE_STEP_BEATS_ITERATED"),
        (with_rows(row("PGD", "white box", 8, 110), row("FGSM", "white box", 8, 100)), "EPS_NOT_MONOTONE"),
        (with_rows(row("FGSM", "transfer", 8, 0), row("PGD", "white box", 8, 30)), "TRANSFER_BEATS_WHITE_BOX"),
        (seen(evidence(), zero_gradients=0.2), "ZERO_GRADIENTS"),
        (seen(evidence(), saturated=0.2), "SATURATED_LOGITS"),
        (seen(evidence(), plateaus=0.2), "SCORE_PLATEAUS"),
        (replace(evidence(), doubled={8: 0.03}), "TOO_FEW_STEPS"),
        (replace(evidence(), rows=tuple(row for row in evidence().rows if row.kind != "white box")), "NO_GRADIENTS"),
        (seen(evidence(), shown="scores"), "NO_LOGITS"),
        (seen(evidence(), shown="scores"), "SOFTMAX_HEAD"),
        (replace(evidence(), clean=Rate.of(45, 50)), "FEW_SAMPLES"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_doubts_degrade(doubted: Evidence, code: str) -> None:
    assert codes(doubted).get(code) == "warn"


def test_an_attack_that_follows_answers_too_hides_no_masked_gradients() -> None:
    """Noise beats PGD; a walk that breaks everything, taking gradients along the way, does not make up for it."""
    doubted = with_rows(row("Noise", "baseline", 1, 20))
    rows = (*doubted.rows, *(row("Walk", "white box", eps, 0) for eps in (1, 8, 64)))
    follows = {**doubted.follows, "Walk": "gradients and answers"}
    walk = replace(doubted, rows=rows, holds=holds(rows), follows=follows, starts={**doubted.starts, "Walk": 1})
    assert codes(walk) == {"NOISE_BEATS_GRADIENTS": "invalid"}


def paired(wins: int, losses: int, neither: int = 24, n: int = 100) -> Evidence:
    """Square and PGD at eps 8, each of which breaks so many samples that the other leaves; FGSM breaks none."""
    at, old = np.arange(n), evidence()
    held = {
        "Square": (at < neither) | ((at >= neither + wins) & (at < neither + wins + losses)),
        "PGD": at < neither + wins,
        "FGSM": at < n,
    }
    kinds = {row.attack: row.kind for row in old.rows}
    rows = tuple(row(name, kinds[name], 8, int(flags.sum()), n) for name, flags in held.items())
    return replace(old, rows=rows, holds={(name, 8): flags for name, flags in held.items()})


@pytest.mark.parametrize(
    ("wins", "losses", "raised"),
    [(10, 0, True), (7, 0, True), (4, 0, False), (10, 9, False), (30, 10, True), (0, 10, False)],
)
def test_attacks_are_compared_sample_by_sample(wins: int, losses: int, raised: bool) -> None:
    """Square at 24 % against gradients at 34 % of the same 100 samples: ten won without a loss are no chance."""
    settled = replace(paired(wins, losses), growths=(grown(True),) * raised)
    found = [issue for issue in check(settled).issues if issue.code != "LITTLE_EVIDENCE"]
    assert [issue.code for issue in found] == ["BLACK_BOX_BEATS_WHITE_BOX"] * raised
    if (wins, losses) == (10, 0):
        assert found[0].message == (
            "at eps 8 Square leaves 24.0%, gradients 34.0% (samples that only one of them breaks: 10 to 0)"
        )


def test_all_comparisons_of_a_check_share_its_level() -> None:
    """Six won without a loss are significant alone (1.6 %), but not as one of four comparisons."""
    one = paired(6, 0)
    assert doubts(replace(one, growths=(grown(True),))) == {"BLACK_BOX_BEATS_WHITE_BOX": "warn"}
    others = tuple(row(name, "black box", 8, 100, 100) for name in ("A", "B", "C"))
    follows: dict[str, Follows] = {**one.follows, "A": "scores", "B": "scores", "C": "scores"}
    more = replace(one, rows=(*one.rows, *others), holds=one.holds | holds(others), follows=follows)
    assert doubts(more) == {}


def grown(settled: bool) -> Growth:
    """Square at eps 8, doubled twice."""
    gain = 1 if settled else 12
    return Growth(attack="Square", eps_steps=8, queries=(300, 600, 1200), broken=(20, gain), settled=settled)


def test_a_black_box_that_still_gains_invalidates_until_it_stops() -> None:
    ahead = paired(10, 0)
    assert doubts(replace(ahead, growths=(grown(True),))) == {"BLACK_BOX_BEATS_WHITE_BOX": "warn"}
    for growths in ((), (grown(False),)):
        found = check(replace(ahead, growths=growths))
        assert {issue.code: issue.severity for issue in found.issues}["BLACK_BOX_STILL_GAINS"] == "invalid"
    assert "with 1,200 queries instead of 600 another 12 of 200" in found.issues[0].message


@pytest.mark.slow
def test_mcnemar_is_the_exact_binomial() -> None:
    assert mcnemar(0, 0) == mcnemar(0, 7) == 1
    assert mcnemar(10, 0) == 2**-10
    assert mcnemar(3, 1) == pytest.approx(5 / 16)
    assert mcnemar(6000, 4000) < 1e-80 < mcnemar(5050, 4950)


def test_transfer_is_compared_with_all_gradients_together() -> None:
    """It is the best of all that was crafted on the control; each gradient attack alone would lose to it by chance."""
    at, old = np.arange(200), evidence()
    held = {"PGD": at < 100, "APGD": at >= 100, "Transfer": at < 0}
    rows = (row("PGD", "white box", 8, 100), row("APGD", "white box", 8, 100), row("Transfer", "transfer", 8, 0))
    follows: dict[str, Follows] = {**old.follows, "APGD": "gradients"}
    together = replace(
        old,
        rows=rows,
        holds={(name, 8): flags for name, flags in held.items()},
        follows=follows,
        starts={**old.starts, "APGD": 1},
    )
    assert "TRANSFER_BEATS_WHITE_BOX" in check(together).passed
    alone = replace(together, rows=(rows[0], rows[2]))
    assert "TRANSFER_BEATS_WHITE_BOX" in codes(alone)


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        (without(evidence(), "Square"), "a black box that follows scores"),
        (without(evidence(), "Jump"), "a black box that follows decisions"),
        (seen(evidence(), shown="labels", plateaus=None), "a black box that follows scores"),
        (without(evidence(), "PGD"), "iterated gradients"),
        (without(evidence(), "Noise"), "random noise"),
        (replace(evidence(), starts={**evidence().starts, "PGD": 1}), "a second start of iterated gradients"),
        (replace(evidence(), doubled={}), "twice the steps on what held"),
        (replace(evidence(), doubled={8: 0.0}), "twice the steps on what held at eps 1"),
        (without(evidence(), "Transfer"), "transfer from a control"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_little_evidence_degrades_and_is_named(missing: Evidence, named: str) -> None:
    (issue,) = (one for one in check(missing).issues if one.code == "LITTLE_EVIDENCE")
    assert issue.severity == "warn" and issue.message.endswith(f"what was not tried: {named}")


def test_what_was_left_out_at_a_bound_of_the_threat_model_is_named_with_it() -> None:
    def at(*bounds: int) -> Evidence:
        left = (r for r in evidence().rows if (r.attack, r.eps_steps) not in [("Transfer", b) for b in bounds])
        return of_rows(evidence(), left)

    messages = {one.code: one.message for one in check(at(1)).issues}
    assert messages["LITTLE_EVIDENCE"].endswith("what was not tried: transfer from a control at eps 1")
    beyond = of_rows(evidence(), (r for r in evidence().rows if (r.attack, r.eps_steps) != ("Jump", 64)))
    assert codes(beyond) == {}  # eps 64 checks the attacks and is no claim


def test_one_gradient_step_and_a_control_are_little_evidence() -> None:
    """`--attacks fgsm --control MODEL` was valid."""
    rows = tuple(row for row in evidence().rows if row.attack == "FGSM")
    verdict = check(replace(evidence(), rows=rows, doubled={}))
    assert [issue.code for issue in verdict.issues] == ["LITTLE_EVIDENCE"]
    unmade = {one.code for one in verdict.unmade}
    assert {"NOISE_BEATS_GRADIENTS", "BLACK_BOX_BEATS_WHITE_BOX", "ONE_STEP_BEATS_ITERATED", "TOO_FEW_STEPS"} < unmade


def holding(left: int, **changes: Any) -> Evidence:
    """Evidence in which `left` of 200 samples hold at every bound and under every attack."""
    old = evidence()
    curve = tuple(point.model_copy(update={"robust": Rate.of(left, 200)}) for point in old.curve)
    rows = (row(r.attack, r.kind, r.eps_steps, left) for r in old.rows)
    return replace(of_rows(old, rows), **{"curve": curve, "headline": curve[1], **changes})


def test_an_honest_network_that_holds_at_the_sanity_bound_is_doubted_only() -> None:
    assert codes(holding(180)) == {"HOLDS_AT_SANITY_EPS": "warn"}
    assert codes(holding(180, control=None)) == {"HOLDS_AT_SANITY_EPS": "warn", "NO_CONTROL": "warn"}
    assert codes(holding(22)) == {}  # 11 %: the interval holds 10 %


def test_two_classes_are_not_broken_at_half() -> None:
    """Guessing is right on half of the samples, but attacks that work leave less."""
    assert codes(holding(100, chance=0.5)) == {"HOLDS_AT_SANITY_EPS": "warn"}


def test_every_sign_of_masking_is_seen_here_and_told_in_the_documentation() -> None:
    """A doubt that a result may have for another reason than its attacks would make an honest network `invalid`."""
    signs = {one.code for one in CHECKS if one.sign}
    shown = {code for make in SIGNS.values() for code in codes(make(evidence()))}
    assert signs <= shown
    text = (Path(__file__).parents[1] / "docs" / "results.md").read_text()
    told = re.search(r"\*\*Signs of masking\*\* are the codes\s(.*?);", text, re.DOTALL)
    assert told is not None and set(re.findall(r"`(\w+)`", told[1])) == signs


@pytest.mark.parametrize("sign", SIGNS)
def test_signs_of_masking_invalidate_what_holds_at_the_sanity_bound(sign: str) -> None:
    found = codes(SIGNS[sign](holding(100)))
    assert found["LARGE_EPS_ABOVE_CHANCE"] == "invalid" and "HOLDS_AT_SANITY_EPS" not in found


def labels_of(counts: tuple[int, ...]) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


def test_guessing_is_told_from_knowing() -> None:
    """By the best constant answer on these labels, whatever the number of outputs."""
    y = labels_of((95, 5))
    assert chance(y) == 0.95
    assert guesses(np.zeros(100, np.int64), y)  # 95 % right, and no network
    assert guesses(np.ones(100, np.int64), y)
    knowing = y.copy()
    assert not guesses(knowing, y)
    knowing[95] = 0
    assert not guesses(knowing, y)  # 99 %, of which the interval holds 95 %
    alarmed = y.copy()
    alarmed[:20] = 1
    assert guesses(alarmed, y)  # finds all five, but is wrong on 20 %: one answer to all would be better
    balanced, rng = labels_of((10,) * 10), np.random.default_rng(1)
    assert guesses(rng.permutation(balanced), balanced)
    assert not guesses(np.where(np.arange(100) < 60, balanced, 0), balanced)
    assert not guesses(np.array([3, 5, 7, 1]), np.array([3, 5, 7, 1]))  # four samples
