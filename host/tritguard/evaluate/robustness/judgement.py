"""Turns what the search found and what the device answered into accuracies and doubts about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tritguard.attack import Target
from tritguard.attack.base import Labels
from tritguard.attack.norms import NORMS
from tritguard.attack.view import GradientView
from tritguard.evaluate.crafting.runs import Run
from tritguard.evaluate.robustness import symptoms
from tritguard.evaluate.robustness.checks import check
from tritguard.evaluate.robustness.evidence import Evidence, Flags
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.result import AttackRow, CurvePoint, Unmade
from tritguard.evaluate.robustness.search import Found
from tritguard.evaluate.robustness.significance import chance, guesses
from tritguard.evaluate.study import Issue, Rate, Status, status_of


@dataclass(frozen=True)
class DeviceAnswers:
    """What the device says, whose answers are the ones that count.

    Attributes:
        clean: int64[n], its labels for the clean inputs.
        runs: for each run int64[n], its labels for the candidates.
        again: the same for `Found.again`, if there is one.
        mismatched: the number of inputs on which its bytes are not the twin's.
        unsteady: the number of inputs to which it gave another answer the second time.
    """

    clean: Labels
    runs: tuple[Labels, ...]
    again: Labels | None
    mismatched: int
    unsteady: int


@dataclass(frozen=True)
class Judgement:
    """Accuracies, and how far they can be believed.

    Attributes:
        right: bool[n], whether the clean input is classified correctly.
        clean: the accuracy on clean inputs.
        curve: the worst case at each eps.
        rows: each attack alone at each eps.
        issues: what the checks found.
        passed: codes of the checks that found nothing.
        unmade: the checks that could not be made.
    """

    right: Flags
    clean: Rate
    curve: tuple[CurvePoint, ...]
    rows: tuple[AttackRow, ...]
    issues: tuple[Issue, ...]
    passed: tuple[str, ...]
    unmade: tuple[Unmade, ...]

    @property
    def status(self) -> Status:
        """The status that the issues lead to."""
        return status_of(self.issues)


def judge(plan: Plan, target: Target, found: Found, answers: DeviceAnswers) -> Judgement:
    """Compute accuracies from what the device said, for the twin only led the search, and check them."""
    view = target.view
    assert isinstance(view, GradientView)
    right = answers.clean == target.y
    wrong = [target.broken(labels) for labels in answers.runs]
    runs = list(zip(found.runs, wrong, strict=True))
    extra = [] if found.again is None or answers.again is None else [(found.again, target.broken(answers.again))]
    curve = _curve(plan, [*runs, *extra], right, view.graph.tensors[view.graph.input].scale)
    rows = tuple(_row(run, fooled, right, target) for run, fooled in runs)
    clean = Rate.of(int(right.sum()), len(right))
    x = target.x.astype(np.float32)
    verdict = check(
        Evidence(
            clean=clean,
            curve=curve,
            headline=next(point for point in curve if point.eps_steps == plan.eps[-1]),
            rows=rows,
            holds={(run.attack.name, run.eps): right & ~fooled for run, fooled in runs},
            follows={run.attack.name: run.attack.follows for run in found.runs},
            chance=chance(target.y),
            guesses=guesses(answers.clean, target.y),
            control_guesses=found.control_labels is not None and guesses(found.control_labels, target.y),
            shown=symptoms.shown(target),
            softmax_head=symptoms.softmax_head(target),
            mismatched_inputs=answers.mismatched,
            unsteady_inputs=answers.unsteady,
            zero_gradients=view.zero_gradient_share(x, target.y),
            saturated=view.zero_gradient_share(x, target.y, 1 / view.temperature),
            plateaus=symptoms.plateaus(target, plan.eps[0] if NORMS[plan.norm].box else 1),
            doubled=None if found.doubling is None else found.doubling.broken / len(target.x),
            control=found.control,
        )
    )
    return Judgement(right, clean, curve, rows, verdict.issues, verdict.passed, verdict.unmade)


def _curve(plan: Plan, runs: list[tuple[Run, Flags]], right: Flags, scale: float) -> tuple[CurvePoint, ...]:
    """Compute the worst case at each bound; what broke a sample in a smaller ball lies in the larger one too."""
    holds, points = right.copy(), []
    for eps in plan.bounds:
        for _, wrong in (pair for pair in runs if pair[0].eps == eps):
            holds &= ~wrong
        points.append(CurvePoint(eps_steps=eps, eps_input=eps * scale, robust=Rate.of(int(holds.sum()), len(holds))))
    return tuple(points)


def _row(run: Run, wrong: Flags, right: Flags, target: Target) -> AttackRow:
    n = len(right)
    parameters = dict(run.attack.parameters)
    if run.attack.kind == "white box" and target.view is not None:
        parameters["temperature"] = round(target.view.temperature, 3)
    return AttackRow(
        attack=run.attack.name,
        kind=run.attack.kind,
        eps_steps=run.eps,
        robust=Rate.of(int((right & ~wrong).sum()), n),
        parameters=parameters,
        queries_per_sample=run.queries / n,
        gradients_per_sample=run.gradients / n,
        seconds=run.seconds,
    )
