"""Checks whether the numbers can be believed; each doubt has a stable code and a severity.

They follow the checklist of Carlini et al. 2019 (1902.06705) and AutoAttack's flags (Croce and Hein 2020, 2003.01690).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tritguard.attack.base import Follows
from tritguard.attack.repaired import Repaired
from tritguard.evaluate.findings import FEW_SAMPLES
from tritguard.evaluate.robustness.comparisons import (
    by_gradients,
    found_elsewhere,
    iterated,
    not_monotone,
    of_kind,
    one_step,
    takes_gradients,
    weaker,
)
from tritguard.evaluate.robustness.evidence import Evidence, Finding, NotMade
from tritguard.evaluate.robustness.figures import Fidelity, Unmade
from tritguard.evaluate.robustness.proofs import UNBROKEN, unproved
from tritguard.evaluate.robustness.significance import LEVEL, mcnemar
from tritguard.evaluate.study import Issue, Rate

MASKED_SHARE = 0.1  # share of samples without a gradient, or on a plateau, above which masking is suspected
DOUBLING_GAIN = 0.02  # share of samples that twice the steps, or another kind of attack, may break in addition
ASTRAY = 0.1  # share of the samples that hold whose gradients may lead nowhere


@dataclass(frozen=True)
class Check:
    """One doubt.

    Attributes:
        sign: whether its finding speaks against the attacks, so that what they leave of a model is not to its credit; a
            function where that takes less evidence than the doubt, or more.
    """

    code: str
    severity: Literal["warn", "invalid"]
    find: Callable[[Evidence], Finding]
    sign: bool | Callable[[Evidence], Finding]


@dataclass(frozen=True)
class Verdict:
    """What the checks came to.

    Attributes:
        issues: what was found, in the order of the checks.
        passed: the codes of the checks that found nothing.
        unmade: the checks that could not be made.
    """

    issues: tuple[Issue, ...]
    passed: tuple[str, ...]
    unmade: tuple[Unmade, ...]


def check(evidence: Evidence) -> Verdict:
    """Make all checks, those that invalidate first."""
    issues, passed, unmade = [], [], []
    for one in CHECKS:
        found = one.find(evidence)
        if isinstance(found, NotMade):
            unmade.append(Unmade(code=one.code, reason=found.reason))
        elif not found:
            passed.append(one.code)
        else:
            issues += [Issue(code=one.code, severity=one.severity, message=message) for message in found]
    return Verdict(tuple(issues), tuple(passed), tuple(unmade))


def _mismatch(e: Evidence) -> Finding:
    return [f"device and twin differ on {e.mismatched_inputs} inputs"] if e.mismatched_inputs else []


def _disagree(e: Evidence) -> Finding:
    what = f"{', '.join(e.disagreed)} gave other bytes than the other boards, which took over the inputs"
    return [what] if e.disagreed else []


def _unsteady(e: Evidence) -> Finding:
    unsteady = e.symptoms.unsteady_inputs
    return [f"{unsteady} inputs gave other outputs when asked again"] if unsteady else []


def _clean_at_chance(e: Evidence) -> Finding:
    what = (
        f"clean accuracy {e.clean.value:.1%} cannot be told from guessing (the best constant answer is right on "
        f"{e.chance:.1%}): wrong data or unit?"
    )
    return [what] if e.guesses else []


def _unbroken(e: Evidence, robust: Rate) -> bool:
    """Whether so much is left of a model that the attacks cannot be said to have broken it."""
    return robust.low > min(e.chance, UNBROKEN)


def _signs(e: Evidence) -> list[str]:
    """Collect what speaks for weak attacks or masked gradients, rather than for a network that holds."""
    sanity = e.curve[-1].eps_steps
    gained = found_elsewhere(e, sanity)
    other = f"attacks other than iterated gradients break another {gained:.1%} of the samples at eps {sanity}"
    signs = [one.find if one.sign is True else one.sign for one in CHECKS if one.sign]
    found = [answer for sign in signs if not isinstance(answer := sign(e), NotMade)]
    return [
        *(f"{name} was not tried" for name in _not_searched(e)),
        *(what for answer in found for what in answer),
        *([other] if gained > DOUBLING_GAIN else []),
    ]


def _left_at_sanity(e: Evidence) -> Finding:
    last = e.curve[-1]
    what = f"at eps {last.eps_steps} robust accuracy is {last.robust.value:.1%}"
    return [what] if _unbroken(e, unproved(last.robust, e.proved)) else []


def _left_of_control(e: Evidence, *, proofs: bool = True) -> Finding:
    if e.control is None:
        return NotMade("no control was given")
    if e.symptoms.control_guesses:
        return NotMade("the control guesses on clean inputs")
    proved = e.control.samples.proved if proofs and e.control.samples is not None else None
    what = f"the undefended control{e.control.called} keeps {e.control.robust.value:.1%} at eps {e.headline.eps_steps}"
    return [what] if _unbroken(e, unproved(e.control.robust, proved)) else []


def _masked(left: Callable[[Evidence], Finding], otherwise: str) -> Callable[[Evidence], Finding]:
    """Make a check that nothing is left where there are signs of masking; without one, the code `otherwise` applies."""

    def find(e: Evidence) -> Finding:
        found = left(e)
        if isinstance(found, NotMade) or not found:
            return found
        signs = "; ".join(_signs(e))
        if not signs:
            return NotMade(f"what is left shows no sign of masking: see {otherwise}")
        return [f"{what}, and there are signs that the attacks do not work on this model: {signs}" for what in found]

    return find


def _unmasked(left: Callable[[Evidence], Finding], otherwise: str, meaning: str) -> Callable[[Evidence], Finding]:
    """Make a check that nothing is left without a sign of masking; with one, the code `otherwise` applies."""

    def find(e: Evidence) -> Finding:
        found = left(e)
        if isinstance(found, NotMade) or not found:
            return found
        if _signs(e):
            return NotMade(f"what is left shows signs of masking: see {otherwise}")
        return [f"{what}: {meaning}" for what in found]

    return find


def _no_control(e: Evidence) -> Finding:
    if e.control is None:
        return [
            "no undefended control was given (--control) to show that these attacks break a model without a defence"
        ]
    what = f"the control{e.control.called} guesses on clean inputs ({e.control.clean.value:.1%}), so it shows nothing"
    return [what] if e.symptoms.control_guesses else []


def _not_searched(e: Evidence) -> list[str]:
    """Name the kinds of search that were not made and that could break samples which hold."""
    done = {
        "iterated gradients": any(iterated(e, row) for row in e.rows),
        "a black-box attack": any(row.kind == "black box" for row in e.rows),
        "twice the steps on what held": bool(e.doubled),
    }
    return [name for name, made in done.items() if not made]


def _starts(e: Evidence, eps: int) -> int:
    return sum(e.starts[row.attack] for row in e.at(eps) if iterated(e, row))


def _asked(follows: Follows) -> Callable[[Evidence, int], bool]:
    """Make a test of whether a black box that follows these outputs ran at a bound and was shown them."""

    def made(e: Evidence, eps: int) -> bool:
        seen = follows == "decisions" or e.symptoms.shown != "labels"
        return seen and any(row.kind == "black box" and e.follows[row.attack] == follows for row in e.at(eps))

    return made


# What a figure without reservations rests on, at every bound of the threat model.
_SEARCHES: dict[str, Callable[[Evidence, int], bool]] = {
    "iterated gradients": lambda e, eps: _starts(e, eps) > 0,
    "a second start of iterated gradients": lambda e, eps: _starts(e, eps) != 1,
    "random noise": lambda e, eps: any(row.kind == "baseline" for row in e.at(eps)),
    "a black box that follows scores": _asked("scores"),
    "a black box that follows decisions": _asked("decisions"),
    "transfer from a control": lambda e, eps: any(row.kind == "transfer" for row in e.at(eps)),
    "twice the steps on what held": lambda e, eps: eps in e.doubled,
    "attacks along repaired gradients": lambda e, eps: (
        not any(one.failed and not one.repaired for one in e.symptoms.fidelity if one.eps_steps == eps)
    ),
    "more queries for black boxes that still gain": lambda e, eps: any(map(takes_gradients, e.at(eps))),
}


def _little_evidence(e: Evidence) -> Finding:
    missing = []
    for name, made in _SEARCHES.items():
        without = [eps for eps in e.threat if not made(e, eps)]
        where = "" if without == e.threat else f" at eps {', '.join(map(str, without))}"
        missing += [f"{name}{where}"] if without else []
    for package in dict.fromkeys(e.left_out.values()):
        names = ", ".join(name for name, needed in e.left_out.items() if needed == package)
        missing.append(f"{names} of the preset, as {package} is not installed")
    return [f"samples that hold may fall to what was not tried: {'; '.join(missing)}"] if missing else []


_NO_TENSORFLOW = NotMade("TensorFlow, which computes gradients, is not installed")
_LABELS = NotMade("black-box attacks see labels alone")


def _no_logits(e: Evidence) -> Finding:
    what = "black-box attacks see only coarse int8 scores, not int32 logits"
    return _LABELS if e.symptoms.shown == "labels" else [what] if e.symptoms.shown == "scores" else []


def _softmax_head(e: Evidence) -> Finding:
    what = "the scores that black-box attacks see come out of an int8 softmax, which hides nearly all of them"
    hidden = e.symptoms.softmax_head and e.symptoms.shown == "scores"
    return _LABELS if e.symptoms.shown == "labels" else [what] if hidden else []


def _few_samples(e: Evidence) -> Finding:
    return [f"only {e.clean.n} samples: the intervals are wide"] if e.clean.n < FEW_SAMPLES else []


def _no_gradients(e: Evidence) -> Finding:
    what = "no attack used gradients: samples that hold here may fall to one that does"
    return [] if any(map(takes_gradients, e.rows)) else [what]


def _zero_gradients(e: Evidence) -> Finding:
    if (share := e.symptoms.zero_gradients) is None:
        return _NO_TENSORFLOW
    what = f"{share:.0%} of the samples have no gradient at all: gradients are masked"
    return [what] if share > MASKED_SHARE else []


def _saturated(e: Evidence) -> Finding:
    if (share := e.symptoms.saturated) is None:
        return _NO_TENSORFLOW
    what = f"the logits are so large that the cross-entropy of {share:.0%} of the samples has no gradient"
    return [what] if share > MASKED_SHARE else []


def _plateaus(e: Evidence) -> Finding:
    if e.symptoms.plateaus is None:
        return _LABELS
    what = f"for {e.symptoms.plateaus:.0%} of the samples no small change moves what black-box attacks see"
    return [what] if e.symptoms.plateaus > MASKED_SHARE else []


def _few_steps(e: Evidence) -> Finding:
    repaired = {one.eps_steps: one.gained / e.clean.n for one in e.symptoms.fidelity if one.gained}
    if not e.doubled and not repaired:
        return NotMade("no attack was run with twice its steps")
    eps, gained = max([*e.doubled.items(), *repaired.items()], key=lambda pair: pair[1])
    what = f"at eps {eps} twice the steps break another {gained:.1%} of the samples: give the gradient attacks more"
    return [what] if gained > DOUBLING_GAIN else []


_noise_beats = weaker("noise", of_kind("baseline"), "gradients", by_gradients)
_black_box_beats = weaker("a black box", of_kind("black box"), "gradients", by_gradients)
_transfer_beats = weaker("transfer", of_kind("transfer"), "all gradient attacks", by_gradients, together=True)
_one_step_beats = weaker("a single gradient step", one_step, "iterated gradients", iterated)


def _still_gains(e: Evidence) -> Finding:
    if isinstance(ahead := _black_box_beats(e), NotMade):
        return ahead
    if ahead and not e.growths:
        return ["a black box breaks more than gradients do, and was not given more queries to see what it can do"]
    return [
        f"at eps {one.eps_steps} {one.attack} breaks more than gradients do, and still gains: with {one.queries[-1]:,} "
        f"queries instead of {one.queries[-2]:,} another {one.broken[-1]} of {e.clean.n}"
        for one in e.growths
        if not one.settled
    ]


def _astray(e: Evidence) -> Finding:
    if not e.symptoms.fidelity:
        return NotMade("no gradients were measured")
    return [
        f"at eps {one.eps_steps} the gradients of {one.lost} of the {one.left} samples that hold lead nowhere, in the "
        "network's view and in any repaired one: nothing bounds what better ones would leave"
        for one in e.symptoms.fidelity
        if one.eps_steps in e.threat and one.lost > max(DOUBLING_GAIN * e.clean.n, ASTRAY * one.left)
    ]


def _followed(one: Fidelity) -> str:
    nothing = "no attack follows repaired ones in balls of this norm; other attacks"
    return "attacks that follow repaired ones" if one.repaired else nothing


def _repaired(e: Evidence) -> Finding:
    if not e.symptoms.fidelity:
        return NotMade("no gradients were measured")
    return [
        f"at eps {one.eps_steps} the gradients of {one.astray} of the {one.held} samples that held led nowhere; "
        f"{_followed(one)}, and more steps, left {one.left}"
        for one in e.symptoms.fidelity
        if one.astray > max(DOUBLING_GAIN * e.clean.n, ASTRAY * one.held)
    ]


def _broken_by_repair(e: Evidence) -> Finding:
    """Find bounds at which gradients had to be repaired, or many samples fell only to repaired ones, needed or not."""
    found = _repaired(e)
    if isinstance(found, NotMade):
        return found
    for eps in e.threat:
        row = next((row for row in e.at(eps) if row.attack == Repaired.name), None)
        if row is not None:
            others = [e.held(other) for other in e.at(eps) if other is not row]
            alone = int((np.logical_and.reduce(others) & ~e.held(row)).sum())
            share = alone / e.clean.n
            what = f"at eps {eps} repaired gradients break {share:.1%} of the samples, which hold under all else there"
            found += [what] if share > DOUBLING_GAIN and mcnemar(alone, 0) <= LEVEL else []
    return found


def _doubtful(e: Evidence) -> Finding:
    """Find what `_astray` does, where it is too little to invalidate: a headline may be too high by as much."""
    if isinstance(invalid := _astray(e), NotMade):
        return invalid
    if invalid:
        return NotMade("so many gradients lead nowhere that the result is invalid: see GRADIENTS_LEAD_NOWHERE")
    return [
        f"at eps {one.eps_steps} the gradients of {one.lost} of the {one.left} samples that hold lead nowhere, in the "
        "network's view and in any repaired one: the worst case may be lower by as many"
        for one in e.symptoms.fidelity
        if one.eps_steps in e.threat and one.lost > DOUBLING_GAIN * e.clean.n
    ]


_large_eps = _masked(_left_at_sanity, "HOLDS_AT_SANITY_EPS")
_control_not_broken = _masked(_left_of_control, "CONTROL_HOLDS")
_holds_at_sanity = _unmasked(
    _left_at_sanity,
    "LARGE_EPS_ABOVE_CHANCE",
    "gradients and black box agree there and nothing shows that gradients are masked, but it is not shown that the "
    "attacks can break this model at all; take a larger sanity bound",
)


def _control_holds(e: Evidence) -> Finding:
    """Find a control that holds: proofs of its samples excuse the attacks, but not the comparison with it."""
    left = _left_of_control(e, proofs=False)
    if isinstance(left, NotMade) or not left:
        return left
    if _left_of_control(e) and _signs(e):
        return NotMade("what is left shows signs of masking: see CONTROL_NOT_BROKEN")
    meaning = (
        "nothing shows that the attacks fail, but at this eps a defence cannot be told from none; take a stronger "
        "preset or a larger eps"
    )
    return [f"{what}: {meaning}" for what in left]


CHECKS: tuple[Check, ...] = (
    Check("DEVICE_TWIN_MISMATCH", "invalid", _mismatch, sign=False),
    Check("BOARDS_DISAGREE", "invalid", _disagree, sign=False),
    Check("NONDETERMINISTIC", "invalid", _unsteady, sign=False),
    Check("CLEAN_AT_CHANCE", "invalid", _clean_at_chance, sign=False),
    Check("LARGE_EPS_ABOVE_CHANCE", "invalid", _large_eps, sign=False),
    Check("CONTROL_NOT_BROKEN", "invalid", _control_not_broken, sign=False),
    Check("GRADIENTS_LEAD_NOWHERE", "invalid", _astray, sign=True),
    Check("NOISE_BEATS_GRADIENTS", "invalid", _noise_beats, sign=True),
    Check("BLACK_BOX_STILL_GAINS", "invalid", _still_gains, sign=False),
    Check("HOLDS_AT_SANITY_EPS", "warn", _holds_at_sanity, sign=False),
    Check("CONTROL_HOLDS", "warn", _control_holds, sign=False),
    Check("NO_CONTROL", "warn", _no_control, sign=False),
    Check("LITTLE_EVIDENCE", "warn", _little_evidence, sign=False),
    Check("NO_LOGITS", "warn", _no_logits, sign=False),
    Check("SOFTMAX_HEAD", "warn", _softmax_head, sign=True),
    Check("FEW_SAMPLES", "warn", _few_samples, sign=False),
    Check("NO_GRADIENTS", "warn", _no_gradients, sign=False),
    Check("GRADIENTS_REPAIRED", "warn", _broken_by_repair, sign=_repaired),
    Check("GRADIENTS_IN_DOUBT", "warn", _doubtful, sign=False),
    Check("ZERO_GRADIENTS", "warn", _zero_gradients, sign=True),
    Check("SATURATED_LOGITS", "warn", _saturated, sign=False),  # the attacks' temperature undoes it
    Check("SCORE_PLATEAUS", "warn", _plateaus, sign=True),
    Check("TOO_FEW_STEPS", "warn", _few_steps, sign=True),
    Check("BLACK_BOX_BEATS_WHITE_BOX", "warn", _black_box_beats, sign=True),
    Check("TRANSFER_BEATS_WHITE_BOX", "warn", _transfer_beats, sign=True),
    Check("ONE_STEP_BEATS_ITERATED", "warn", _one_step_beats, sign=True),
    Check("EPS_NOT_MONOTONE", "warn", not_monotone, sign=True),
)
