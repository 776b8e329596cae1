"""Turns what the search found and what the device answered into accuracies and doubts about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tritguard.attack import Target
from tritguard.attack.base import Labels, Limits
from tritguard.attack.norms import NORMS
from tritguard.attack.packages import TENSORFLOW
from tritguard.attack.view import GradientView
from tritguard.campaign.runs import Run
from tritguard.evaluate.limits import WHOLE
from tritguard.evaluate.robustness import symptoms
from tritguard.evaluate.robustness.checks import check
from tritguard.evaluate.robustness.evidence import Measured, gather
from tritguard.evaluate.robustness.figures import AttackRow, CurvePoint, Doubling, Growth, Symptoms, Unmade
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.proofs import UNBROKEN, prove
from tritguard.evaluate.robustness.search import Found
from tritguard.evaluate.robustness.significance import guesses
from tritguard.evaluate.robustness.table import HELD, Figures, Outcomes, SampleTable, count, to_bits
from tritguard.evaluate.study import Issue, Rate, Status, status_of


@dataclass(frozen=True)
class DeviceAnswers:
    """What the device says, whose answers are the ones that count.

    Attributes:
        clean: int64[n], its labels for the clean inputs.
        runs: for each run int64[n], its labels for the candidates.
        again: the same for each run of `Found.again`.
        mismatched: the number of inputs on which its bytes are not the twin's.
        unsteady: the number of inputs to which it gave another answer the second time.
        disagreed: the boards that gave other bytes than the other boards, and whose answers do not count.
    """

    clean: Labels
    runs: tuple[Labels, ...]
    again: tuple[Labels, ...]
    mismatched: int
    unsteady: int
    disagreed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """Accuracies, and how far they can be believed.

    Attributes:
        samples: what each sample did, from which all accuracies are counted.
        clean: the accuracy on clean inputs.
        curve: the worst case at each eps.
        rows: each attack alone at each eps.
        doubling: what the doubled attack broke on the device at each eps; empty if it was not planned.
        growth: the black boxes that broke more than gradients, with the queries that they were given.
        symptoms: what was measured on the model itself.
        issues: what the checks found.
        passed: codes of the checks that found nothing.
        unmade: the checks that could not be made.
    """

    samples: SampleTable
    clean: Rate
    curve: tuple[CurvePoint, ...]
    rows: tuple[AttackRow, ...]
    doubling: tuple[Doubling, ...]
    growth: tuple[Growth, ...]
    symptoms: Symptoms
    issues: tuple[Issue, ...]
    passed: tuple[str, ...]
    unmade: tuple[Unmade, ...]

    @property
    def status(self) -> Status:
        """The status that the issues lead to."""
        return status_of(self.issues)


def judge(plan: Plan, target: Target, found: Found, answers: DeviceAnswers, limits: Limits = WHOLE) -> Judgement:
    """Compute accuracies from what the device said, because the twin only led the search, and check them.

    Args:
        plan: the threat model and the attacks.
        target: the attacked model, and its samples.
        found: what the search found.
        answers: what the device said to it.
        limits: the lowest and the highest int8 step that inputs could have.
    """
    view = target.view
    assert isinstance(view, GradientView)
    samples = tabulate(target, found, answers)
    figures = count(samples)
    sanity = plan.balls[-1].within(limits)
    left = figures.curve[sanity.eps]
    if left.low > UNBROKEN:
        samples = samples.model_copy(update={"proved": prove(target, sanity, figures.first == HELD)})
    rows = tuple(_row(run, robust, target) for run, robust in zip(found.runs, figures.rows, strict=True))
    scale = view.graph.tensors[view.graph.input].scale
    curve = tuple(
        CurvePoint(eps_steps=eps, eps_input=NORMS[plan.norm].scaled(eps, scale), robust=figures.curve[eps])
        for eps in plan.bounds
    )
    doubling = tuple(_on_device(one, figures) for one in found.doublings)
    measured = Measured(
        samples=samples,
        curve=curve,
        attacks=rows,
        doubling=doubling,
        growth=found.growths,
        control=found.control,
        symptoms=_symptoms(plan, target, view, found, answers),
        mismatched_inputs=answers.mismatched,
        disagreed=answers.disagreed,
        left_out={} if found.live else plan.left_out,
    )
    verdict = check(gather(measured, figures, plan.eps[-1]))
    return Judgement(
        samples=samples,
        clean=figures.clean,
        curve=curve,
        rows=rows,
        doubling=doubling,
        growth=found.growths,
        symptoms=measured.symptoms,
        issues=verdict.issues,
        passed=verdict.passed,
        unmade=verdict.unmade,
    )


def _on_device(one: Doubling, figures: Figures) -> Doubling:
    tried, broken = figures.doubled.get(one.eps_steps, (one.tried, one.broken))
    return one.model_copy(update={"tried": tried, "broken": broken})


def _symptoms(plan: Plan, target: Target, view: GradientView, found: Found, answers: DeviceAnswers) -> Symptoms:
    smallest = plan.eps[0] if NORMS[plan.norm].box else 1

    def without_gradient(temperature: float) -> float | None:
        if not TENSORFLOW.installed:
            return None
        return view.zero_gradient_share(target.x.astype(np.float32), target.y, temperature)

    return Symptoms(
        shown=symptoms.shown(target),
        softmax_head=symptoms.softmax_head(target),
        unsteady_inputs=answers.unsteady,
        zero_gradients=without_gradient(1.0),
        saturated=without_gradient(1 / view.temperature),
        plateaus=symptoms.plateaus(target, smallest),
        control_guesses=found.control_labels is not None and guesses(found.control_labels, target.y),
        fidelity=found.fidelity,
    )


def tabulate(target: Target, found: Found, answers: DeviceAnswers) -> SampleTable:
    """Write down for each sample what the device said to it and to all that was crafted from it."""

    def outcomes(run: Run, labels: Labels) -> Outcomes:
        return Outcomes(attack=run.attack.name, eps_steps=run.eps, broken=to_bits(target.broken(labels)))

    return SampleTable(
        labels=tuple(target.y.tolist()),
        clean=tuple(answers.clean.tolist()),
        attacks=tuple(outcomes(run, labels) for run, labels in zip(found.runs, answers.runs, strict=True)),
        doubled=tuple(outcomes(run, labels) for run, labels in zip(found.again, answers.again, strict=True)),
    )


def _row(run: Run, robust: Rate, target: Target) -> AttackRow:
    n = len(target.x)
    parameters = dict(run.attack.parameters)
    if run.attack.kind == "white box" and target.view is not None:
        parameters["temperature"] = round(target.view.temperature, 3)
    return AttackRow(
        attack=run.attack.name,
        kind=run.attack.kind,
        follows=run.attack.follows,
        starts=run.attack.starts,
        eps_steps=run.eps,
        robust=robust,
        parameters=parameters,
        queries_per_sample=run.queries / n,
        gradients_per_sample=run.gradients / n,
        seconds=run.seconds,
    )
