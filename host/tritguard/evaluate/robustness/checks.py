"""Checks whether the numbers can be believed; each doubt has a stable code and a severity.

After the checklist of Carlini et al. 2019 (1902.06705) and AutoAttack's flags (Croce and Hein 2020, 2003.01690).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from tritguard.attack.base import Access, Follows, Kind
from tritguard.evaluate.robustness.figures import AttackRow, Control, CurvePoint
from tritguard.evaluate.study import Issue, Rate

FEW_SAMPLES = 100
MASKED_SHARE = 0.1  # share of samples without a gradient, or on a plateau, above which masking is suspected
DOUBLING_GAIN = 0.02  # share of samples that twice the steps may break in addition


@dataclass(frozen=True)
class Evidence:
    """What the checks look at.

    Attributes:
        curve: the worst case at each eps; the last point is the sanity bound.
        headline: the point at the largest eps of the threat model.
        rows: each attack alone at each eps.
        follows: what leads each attack of the rows, by the attack's name; see `Attack.follows`.
        classes: the number of classes.
        shown: what black-box attacks saw; `scores` also where logits were allowed and the model has none.
        softmax_head: whether the int8 scores come out of a softmax.
        mismatched_inputs: the number of inputs on which device and twin differ.
        unsteady_inputs: the number of inputs that gave other outputs when asked again.
        zero_gradients: the share of samples whose loss, as the attacks scale it, has no gradient.
        saturated: the same for the plain cross-entropy of the model's own logits.
        plateaus: the share of samples whose margin no small change moved; None if only labels are shown.
        doubled: the share of samples that the iterated attack breaks only with twice its steps; None if it was not run.
        control: an undefended model under the same attacks.
    """

    clean: Rate
    curve: tuple[CurvePoint, ...]
    headline: CurvePoint
    rows: tuple[AttackRow, ...]
    follows: Mapping[str, Follows]
    classes: int
    shown: Access
    softmax_head: bool
    mismatched_inputs: int
    unsteady_inputs: int
    zero_gradients: float
    saturated: float
    plateaus: float | None
    doubled: float | None
    control: Control | None

    @property
    def chance(self) -> float:
        """The accuracy of guessing."""
        return 1 / self.classes

    def at(self, eps: int) -> list[AttackRow]:
        """The rows of one bound."""
        return [row for row in self.rows if row.eps_steps == eps]

    @property
    def bounds(self) -> list[int]:
        """The bounds of the rows, rising."""
        return sorted({row.eps_steps for row in self.rows})


Finding = list[str] | None  # what was seen; an empty list if the check passed, None if it could not be made


@dataclass(frozen=True)
class Check:
    """One doubt."""

    code: str
    severity: Literal["warn", "invalid"]
    find: Callable[[Evidence], Finding]


def check(evidence: Evidence) -> tuple[tuple[Issue, ...], tuple[str, ...]]:
    """Make all checks: what they found, those that invalidate first, and the codes of those that passed."""
    issues, passed = [], []
    for one in CHECKS:
        found = one.find(evidence)
        if found == []:
            passed.append(one.code)
        issues += [Issue(code=one.code, severity=one.severity, message=message) for message in found or []]
    return tuple(issues), tuple(passed)


def _mismatch(e: Evidence) -> Finding:
    return [f"device and twin differ on {e.mismatched_inputs} inputs"] if e.mismatched_inputs else []


def _unsteady(e: Evidence) -> Finding:
    return [f"{e.unsteady_inputs} inputs gave other outputs when asked again"] if e.unsteady_inputs else []


def _clean_at_chance(e: Evidence) -> Finding:
    what = f"clean accuracy {e.clean.value:.1%} cannot be told from guessing: wrong data or unit?"
    return [what] if e.clean.low <= e.chance else []


def _large_eps(e: Evidence) -> Finding:
    last = e.curve[-1]
    what = (
        f"at eps {last.eps_steps} robust accuracy is {last.robust.value:.1%}, above chance ({e.chance:.1%}): "
        "the attacks do not work on this model"
    )
    return [what] if last.robust.value > e.chance else []


def _control_holds(e: Evidence) -> Finding:
    if e.control is None or e.control.clean.low <= e.chance:
        return None
    what = (
        f"the undefended control {e.control.name} keeps {e.control.robust.value:.1%} at eps {e.headline.eps_steps}: "
        "the attacks or the threat model are too weak to show a defence; take a stronger preset or a larger eps"
    )
    return [what] if e.control.robust.low > e.chance else []


def _no_control(e: Evidence) -> Finding:
    if e.control is None:
        return [
            "no undefended control was given (--control) to show that these attacks break a model without a defence"
        ]
    what = f"the control {e.control.name} guesses on clean inputs ({e.control.clean.value:.1%}), so it shows nothing"
    return [what] if e.control.clean.low <= e.chance else []


def _no_logits(e: Evidence) -> Finding:
    what = "black-box attacks see only coarse int8 scores, not int32 logits"
    return None if e.shown == "labels" else [what] if e.shown == "scores" else []


def _softmax_head(e: Evidence) -> Finding:
    what = "the scores that black-box attacks see come out of an int8 softmax, which hides nearly all of them"
    return None if e.shown == "labels" else [what] if e.softmax_head and e.shown == "scores" else []


def _few_samples(e: Evidence) -> Finding:
    return [f"only {e.clean.n} samples: the intervals are wide"] if e.clean.n < FEW_SAMPLES else []


def _no_gradients(e: Evidence) -> Finding:
    what = "no attack used gradients: samples that hold here may fall to one that does"
    return [] if any(map(_takes_gradients, e.rows)) else [what]


def _zero_gradients(e: Evidence) -> Finding:
    what = f"{e.zero_gradients:.0%} of the samples have no gradient at all: gradients are masked"
    return [what] if e.zero_gradients > MASKED_SHARE else []


def _saturated(e: Evidence) -> Finding:
    what = f"the logits are so large that the cross-entropy of {e.saturated:.0%} of the samples has no gradient"
    return [what] if e.saturated > MASKED_SHARE else []


def _plateaus(e: Evidence) -> Finding:
    if e.plateaus is None:
        return None
    what = f"for {e.plateaus:.0%} of the samples no small change moves what black-box attacks see"
    return [what] if e.plateaus > MASKED_SHARE else []


def _few_steps(e: Evidence) -> Finding:
    if e.doubled is None:
        return None
    what = f"twice the steps break another {e.doubled:.1%} of the samples: give the gradient attacks more steps"
    return [what] if e.doubled > DOUBLING_GAIN else []


_Choice = Callable[[Evidence, AttackRow], bool]  # of rows


def _of(e: Evidence, eps: int, chosen: _Choice) -> list[AttackRow]:
    return [row for row in e.at(eps) if chosen(e, row)]


def _best(rows: list[AttackRow]) -> Rate | None:
    return min((row.robust for row in rows), key=lambda rate: rate.value, default=None)


def _weaker(name: str, chosen: _Choice, than: _Choice) -> Callable[[Evidence], Finding]:
    """Make a check that no chosen attack breaks more than the best of the others, beyond what chance explains."""

    def find(e: Evidence) -> Finding:
        pairs = [(eps, _best(_of(e, eps, chosen)), _best(_of(e, eps, than))) for eps in e.bounds]
        known = [(eps, weak, strong) for eps, weak, strong in pairs if weak and strong]
        return (
            [
                f"at eps {eps} {name} leaves {weak.value:.1%}, gradients {strong.value:.1%}"
                for eps, weak, strong in known
                if weak.high < strong.low
            ]
            if known
            else None
        )

    return find


def _takes_gradients(row: AttackRow) -> bool:
    return row.kind == "white box"


def _by_gradients(e: Evidence, row: AttackRow) -> bool:
    """Led by gradients alone: an attack that follows answers as well would hide that gradients lead nowhere."""
    return _one_step(e, row) or _iterated(e, row)


def _one_step(e: Evidence, row: AttackRow) -> bool:
    return _takes_gradients(row) and e.follows[row.attack] == "one gradient"


def _iterated(e: Evidence, row: AttackRow) -> bool:
    return _takes_gradients(row) and e.follows[row.attack] == "gradients"


def _is(kind: Kind) -> _Choice:
    return lambda _evidence, row: row.kind == kind


def _not_monotone(e: Evidence) -> Finding:
    names = dict.fromkeys(row.attack for row in e.rows if _iterated(e, row))
    return [what for name in names for what in _falls([row for row in e.rows if row.attack == name])] if names else None


def _falls(rows: list[AttackRow]) -> Iterator[str]:
    for before, after in pairwise(sorted(rows, key=lambda row: row.eps_steps)):
        if after.robust.low > before.robust.high:
            yield (
                f"{after.attack} alone leaves {before.robust.value:.1%} at eps {before.eps_steps} "
                f"but {after.robust.value:.1%} at {after.eps_steps}"
            )


CHECKS = (
    Check("DEVICE_TWIN_MISMATCH", "invalid", _mismatch),
    Check("NONDETERMINISTIC", "invalid", _unsteady),
    Check("CLEAN_AT_CHANCE", "invalid", _clean_at_chance),
    Check("LARGE_EPS_ABOVE_CHANCE", "invalid", _large_eps),
    Check("CONTROL_NOT_BROKEN", "invalid", _control_holds),
    Check("NOISE_BEATS_GRADIENTS", "invalid", _weaker("noise", _is("baseline"), _by_gradients)),
    Check("NO_CONTROL", "warn", _no_control),
    Check("NO_LOGITS", "warn", _no_logits),
    Check("SOFTMAX_HEAD", "warn", _softmax_head),
    Check("FEW_SAMPLES", "warn", _few_samples),
    Check("NO_GRADIENTS", "warn", _no_gradients),
    Check("ZERO_GRADIENTS", "warn", _zero_gradients),
    Check("SATURATED_LOGITS", "warn", _saturated),
    Check("SCORE_PLATEAUS", "warn", _plateaus),
    Check("TOO_FEW_STEPS", "warn", _few_steps),
    Check("BLACK_BOX_BEATS_WHITE_BOX", "warn", _weaker("black box", _is("black box"), _by_gradients)),
    Check("TRANSFER_BEATS_WHITE_BOX", "warn", _weaker("transfer", _is("transfer"), _by_gradients)),
    Check("ONE_STEP_BEATS_ITERATED", "warn", _weaker("a single gradient step", _one_step, _iterated)),
    Check("EPS_NOT_MONOTONE", "warn", _not_monotone),
)
