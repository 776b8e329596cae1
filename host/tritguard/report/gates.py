"""Gates of a pipeline: whether results are good enough for those who ask, case by case."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tritguard.evaluate.robustness.result import RobustnessResult
from tritguard.evaluate.study import Study
from tritguard.report import summary
from tritguard.report.explained import explained
from tritguard.report.wording import bound, interval, of, percent

FailOn = Literal["invalid", "degraded"]
Outcome = Literal["passed", "failed", "skipped"]

UNDER = "ROBUST_ACCURACY"
EXIT_CODE = 7


@dataclass(frozen=True)
class Case:
    """One thing that was asked of a result.

    Attributes:
        study: the study that the result is of.
        code: the check's code, or that of a gate.
        outcome: whether it passed; `skipped` if the check could not be made.
        message: what was seen.
    """

    study: str
    code: str
    outcome: Outcome
    message: str


def judge(studies: Sequence[Study], *, fail_under: float | None = None, fail_on: FailOn = "invalid") -> list[Case]:
    """Judge results.

    Args:
        studies: the results, that of robustness first.
        fail_under: the robust accuracy, from 0 to 1, that has to be reached in the worst case at the largest bound of
            the threat model.
        fail_on: the findings that fail: those that make a result `invalid`, or also those that make it `degraded`.

    Returns:
        A case for each check of each result, and one for each robust accuracy if `fail_under` is given.
    """
    cases = [case for study in studies for case in _checks(study, fail_on)]
    if fail_under is not None:
        judged = [_accuracy(study, fail_under) for study in studies if isinstance(study, RobustnessResult)]
        cases += judged or [_unjudged(fail_under)]
    return cases


def _unjudged(least: float) -> Case:
    """Fail where nothing has the accuracy that is asked for: a gate that judged nothing was not passed."""
    return Case("robustness", UNDER, "failed", f"at least {percent(least)} is wanted, and no result is of robustness")


def failures(cases: Sequence[Case]) -> list[Case]:
    """The cases that failed."""
    return [case for case in cases if case.outcome == "failed"]


def _checks(study: Study, fail_on: FailOn) -> Iterator[Case]:
    for issue in study.issues:
        failed = issue.severity == "invalid" or fail_on == "degraded"
        yield Case(study.kind, issue.code, "failed" if failed else "passed", f"{issue.severity}: {issue.message}")
    if isinstance(study, RobustnessResult):
        for code in study.passed:
            yield Case(study.kind, code, "passed", explained(code))
        for one in study.unmade:
            yield Case(study.kind, one.code, "skipped", one.reason)
    elif not study.issues:
        yield Case(study.kind, "CHECKS", "passed", "no check found anything")


def _accuracy(result: RobustnessResult, least: float) -> Case:
    if result.samples is None:
        what = f"at least {percent(least)} is wanted, the result holds no samples to count it from"
        return Case(result.kind, UNDER, "failed", what)
    point = summary.headline_point(result)
    if point is None:
        return Case(result.kind, UNDER, "failed", f"at least {percent(least)} is wanted, the result is {result.status}")
    seen = f"{percent(point.robust.value)} ({of(point.robust)}; 95 % {interval(point.robust)})"
    message = f"{seen} at eps {bound(point.eps_steps, result.threat_model.norm)}, at least {percent(least)} is wanted"
    return Case(result.kind, UNDER, "passed" if point.robust.value >= least else "failed", message)
