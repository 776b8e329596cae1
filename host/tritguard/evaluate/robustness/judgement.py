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
from tritguard.evaluate.robustness.evidence import Evidence
from tritguard.evaluate.robustness.figures import AttackRow, CurvePoint, Doubling, Unmade
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.search import Found
from tritguard.evaluate.robustness.significance import chance, guesses
from tritguard.evaluate.robustness.table import Outcomes, SampleTable, count, to_bits, to_flags
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
        samples: what each sample did, from which all accuracies are counted.
        clean: the accuracy on clean inputs.
        curve: the worst case at each eps.
        rows: each attack alone at each eps.
        doubling: what the doubled attack broke on the device; None if it was not planned.
        issues: what the checks found.
        passed: codes of the checks that found nothing.
        unmade: the checks that could not be made.
    """

    samples: SampleTable
    clean: Rate
    curve: tuple[CurvePoint, ...]
    rows: tuple[AttackRow, ...]
    doubling: Doubling | None
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
    samples = tabulate(target, found, answers)
    figures = count(samples)
    rows = tuple(_row(run, robust, target) for run, robust in zip(found.runs, figures.rows, strict=True))
    scale = view.graph.tensors[view.graph.input].scale
    curve = tuple(CurvePoint(eps_steps=eps, eps_input=eps * scale, robust=figures.curve[eps]) for eps in plan.bounds)
    doubling = found.doubling
    if doubling is not None and figures.doubled is not None:
        tried, broken = figures.doubled
        doubling = doubling.model_copy(update={"tried": tried, "broken": broken})
    x, right = target.x.astype(np.float32), answers.clean == target.y
    verdict = check(
        Evidence(
            clean=figures.clean,
            curve=curve,
            headline=next(point for point in curve if point.eps_steps == plan.eps[-1]),
            rows=rows,
            holds={(row.attack, row.eps_steps): right & ~to_flags(row.broken) for row in samples.attacks},
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
            doubled=None if doubling is None else doubling.broken / len(target.x),
            control=found.control,
        )
    )
    issues, passed, unmade = verdict.issues, verdict.passed, verdict.unmade
    return Judgement(samples, figures.clean, curve, rows, doubling, issues, passed, unmade)


def tabulate(target: Target, found: Found, answers: DeviceAnswers) -> SampleTable:
    """Write down for each sample what the device said to it and to all that was crafted from it."""

    def outcomes(run: Run, labels: Labels) -> Outcomes:
        return Outcomes(attack=run.attack.name, eps_steps=run.eps, broken=to_bits(target.broken(labels)))

    return SampleTable(
        labels=tuple(target.y.tolist()),
        clean=tuple(answers.clean.tolist()),
        attacks=tuple(outcomes(run, labels) for run, labels in zip(found.runs, answers.runs, strict=True)),
        doubled=None if found.again is None or answers.again is None else outcomes(found.again, answers.again),
    )


def _row(run: Run, robust: Rate, target: Target) -> AttackRow:
    n = len(target.x)
    parameters = dict(run.attack.parameters)
    if run.attack.kind == "white box" and target.view is not None:
        parameters["temperature"] = round(target.view.temperature, 3)
    return AttackRow(
        attack=run.attack.name,
        kind=run.attack.kind,
        eps_steps=run.eps,
        robust=robust,
        parameters=parameters,
        queries_per_sample=run.queries / n,
        gradients_per_sample=run.gradients / n,
        seconds=run.seconds,
    )
