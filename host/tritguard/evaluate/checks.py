"""Whether the numbers can be believed: each doubt has a stable code.

After the checklist of Carlini et al. 2019 (1902.06705) and AutoAttack's flags.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from tritguard.evaluate.result import AttackRow, CurvePoint, Issue, Rate

FEW_SAMPLES = 100
ZERO_GRADIENT_LIMIT = 0.1


@dataclass(frozen=True)
class Evidence:
    """What the checks look at."""

    clean: Rate
    curve: tuple[CurvePoint, ...]  # the last point is the sanity bound
    headline: CurvePoint  # the largest eps of the threat model
    rows: tuple[AttackRow, ...]
    classes: int
    mismatched_inputs: int
    zero_gradient_share: float
    has_logits: bool


def check(evidence: Evidence) -> tuple[Issue, ...]:
    """All doubts about a result, the grave ones first."""
    found = [*_invalid(evidence), *_doubtful(evidence)]
    return tuple(found)


def _invalid(evidence: Evidence) -> Iterator[Issue]:
    if evidence.mismatched_inputs:
        yield Issue(
            code="DEVICE_TWIN_MISMATCH",
            severity="invalid",
            message=f"device and twin differ on {evidence.mismatched_inputs} inputs",
        )
    if evidence.clean.low <= 1 / evidence.classes:
        yield Issue(
            code="CLEAN_AT_CHANCE",
            severity="invalid",
            message=f"clean accuracy {evidence.clean.value:.1%} cannot be told from guessing: wrong data or unit?",
        )
    last = evidence.curve[-1]
    if last.robust.value > 1 / evidence.classes:
        yield Issue(
            code="LARGE_EPS_ABOVE_CHANCE",
            severity="invalid",
            message=f"at eps {last.eps_steps} robust accuracy is {last.robust.value:.1%}, above chance "
            f"({1 / evidence.classes:.1%}): the attacks do not work on this model",
        )


def _doubtful(evidence: Evidence) -> Iterator[Issue]:
    if evidence.headline.robust.low > 1 / evidence.classes:
        yield _warn("NO_CONTROL", "no undefended control shows that these attacks break what has no defence")
    if not evidence.has_logits:
        yield _warn("NO_LOGITS", "the model has no int32 logits: black-box attacks see coarse int8 scores only")
    if evidence.clean.n < FEW_SAMPLES:
        yield _warn("FEW_SAMPLES", f"{evidence.clean.n} samples: the intervals are wide")
    if evidence.zero_gradient_share > ZERO_GRADIENT_LIMIT:
        yield _warn("ZERO_GRADIENTS", f"no gradient on {evidence.zero_gradient_share:.0%} of the samples: masking")
    for eps in sorted({row.eps_steps for row in evidence.rows}):
        yield from _at_one_eps(eps, [row for row in evidence.rows if row.eps_steps == eps])
    for name in dict.fromkeys(row.attack for row in evidence.rows if row.attack == "PGD"):
        yield from _rising([row for row in evidence.rows if row.attack == name])


def _at_one_eps(eps: int, rows: list[AttackRow]) -> Iterator[Issue]:
    """Compare kinds of attack, beyond what chance explains."""
    best = {kind: min((r.robust for r in rows if r.kind == kind), key=lambda r: r.value, default=None) for kind in
            ("white box", "black box", "baseline")}  # fmt: skip
    white, black, noise = best["white box"], best["black box"], best["baseline"]
    if white and noise and noise.high < white.low:
        yield _warn(
            "NOISE_BEATS_GRADIENTS", f"at eps {eps} noise leaves {noise.value:.1%}, gradients {white.value:.1%}"
        )
    if white and black and black.high < white.low:
        yield _warn(
            "BLACK_BOX_BEATS_WHITE_BOX", f"at eps {eps} black box leaves {black.value:.1%}, gradients {white.value:.1%}"
        )
    one_step = next((r.robust for r in rows if r.attack == "FGSM"), None)
    iterated = next((r.robust for r in rows if r.attack == "PGD"), None)
    if one_step and iterated and one_step.high < iterated.low:
        yield _warn(
            "ONE_STEP_BEATS_ITERATED", f"at eps {eps} FGSM leaves {one_step.value:.1%}, PGD {iterated.value:.1%}"
        )


def _rising(rows: list[AttackRow]) -> Iterator[Issue]:
    ordered = sorted(rows, key=lambda row: row.eps_steps)
    for before, after in pairwise(ordered):
        if after.robust.low > before.robust.high:
            yield _warn(
                "EPS_NOT_MONOTONE",
                f"{after.attack} alone leaves {before.robust.value:.1%} at eps {before.eps_steps} "
                f"but {after.robust.value:.1%} at {after.eps_steps}",
            )


def _warn(code: str, message: str) -> Issue:
    return Issue(code=code, severity="warn", message=message)
