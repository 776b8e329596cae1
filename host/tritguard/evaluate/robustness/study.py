"""A whole evaluation: craft on the twin, confirm on the device, measure, check, and put the result together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from tritguard.attack import Target
from tritguard.attack.base import Labels
from tritguard.attack.rivals import Rivals, find_rivals
from tritguard.attack.temperature import margin_temperature
from tritguard.attack.view import GradientView
from tritguard.campaign.means import Means
from tritguard.campaign.orders import Crew, Pool
from tritguard.campaign.store import FILE, Store
from tritguard.data import Dataset, to_input_bytes
from tritguard.device import Device, open_device
from tritguard.device.fleet import Asked
from tritguard.emit import Bundle
from tritguard.errors import BadInputError, DeviceError
from tritguard.evaluate.confirmation import ask
from tritguard.evaluate.data_checks import check_data
from tritguard.evaluate.kind import RunContext, StudyKind
from tritguard.evaluate.limits import DataRange, find_range, limits_of
from tritguard.evaluate.robustness import symptoms
from tritguard.evaluate.robustness.assemble import Findings, Replay, Subject, assemble
from tritguard.evaluate.robustness.grids import regrid
from tritguard.evaluate.robustness.judgement import DeviceAnswers
from tritguard.evaluate.robustness.live import Budget, plan_live, search_live
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.result import RobustnessResult
from tritguard.evaluate.robustness.search import Found, Victim, classes, search
from tritguard.evaluate.robustness.so_far import following
from tritguard.evaluate.samples import Samples, check_attackable, draw_samples
from tritguard.evaluate.study import Rate
from tritguard.graph.passes.unrolled import unrolled
from tritguard.predictor import Int8, Outputs, Predictor
from tritguard.progress import Progress, Stages
from tritguard.twin import Twin

_CHUNK = 256  # predictions between two steps of a progress bar
_ASKED_AGAIN = 16  # inputs that the device is asked twice


def prepare(bundle: Bundle, samples: Samples, plan: Plan) -> Target:
    """The attacked model: its twin, and a view with a temperature that keeps the loss from saturating."""
    twin = Twin(bundle)
    outputs = twin.predict(samples.x)
    rivals = find_rivals(twin, samples.x, samples.y)
    temperature = margin_temperature(outputs, score_scale=bundle.manifest.output.scale, rivals=rivals)
    view, aim = GradientView(unrolled(bundle.golden, samples.x.shape[1]), temperature), None
    if plan.goal == "targeted":
        aim = _draw_aims(samples.y, outputs, rivals, plan.seed, bundle.manifest.name)
    return Target(twin, view, samples.x, samples.y, plan.seed, aim, plan.access, rivals)


def _draw_aims(y: Labels, outputs: Outputs, rivals: Rivals | None, seed: int, name: str) -> Labels:
    """Draw a wrong class for each sample, int64[n], but no output whose copy the network answers in its place.

    Raises:
        BadInputError: the model of this name has no wrong class that it could answer.
    """
    known = np.union1d(y, outputs.labels)
    classes = np.arange(outputs.scores.shape[1])
    if rivals is not None:
        copies = ~(rivals | np.eye(len(classes), dtype=bool))
        classes = classes[np.isin(classes, known) | ~copies[:, known].any(axis=1)]
    if len(classes) < 2:
        only = (
            f"it answers class {classes[0]} to all samples, which are of that class, and its other outputs are copies"
        )
        raise BadInputError(f"has no class to aim at: {only}", where=name, fix="attack it with the goal untargeted")
    away = np.random.default_rng(seed).integers(1, len(classes), len(y))
    return np.asarray(classes[(np.searchsorted(classes, y) + away) % len(classes)])


def victim(
    bundle: Bundle, samples: Samples, plan: Plan, data_range: DataRange | None, out: Path, workers: Pool
) -> Victim:
    """Prepare a model for attack; what is found is kept in `out`/campaign.db."""
    manifest, target = bundle.manifest, prepare(bundle, samples, plan)
    assert target.view is not None
    return Victim(
        name=manifest.name,
        sha256=manifest.model_sha256,
        target=target,
        store=Store(out / FILE, manifest.model_sha256),
        crew=Crew(workers, bundle.path, target.view.temperature, bundle.manifest.macs),
        limits=limits_of(data_range),
    )


def undefended(
    control: Bundle | None, bundle: Bundle, dataset: Dataset, plan: Plan, out: Path, workers: Pool
) -> Victim | None:
    """Prepare the control, if there is one, with the samples that the model of the bundle is attacked with."""
    if control is None:
        return None
    grids = regrid(dataset, bundle.manifest.input, control.manifest.input)
    samples = draw_samples(control, dataset, plan.samples, plan.seed)
    data_range = find_range(plan.data_range, dataset, control.manifest.input)
    return replace(victim(control, samples, plan, data_range, out, workers), regrid=grids)


def in_chunks(predictor: Predictor, x: Int8, progress: Progress) -> Outputs:
    """Predict x, int8[n, *input_shape], on the host, and report progress."""
    parts = []
    for start in range(0, len(x), _CHUNK):
        progress(start, len(x))
        parts.append(predictor.predict(x[start : start + _CHUNK]))
    progress(len(x), len(x))
    return Outputs.joined(parts)


def confirm(
    device: Device,
    target: Target,
    found: Found,
    progress: Progress,
    comparing: Progress,
    *,
    campaign: Path,
    boards: int = 0,
    others: Sequence[Asked] = (),
) -> Replay:
    """Replay every clean and crafted input on the device, compare its bytes with the twin's, and ask some again."""
    groups = [target.x, *(run.x for run in found.runs), *(run.x for run in found.again)]
    flat = np.concatenate(groups).reshape(sum(map(len, groups)), -1)
    distinct, where = np.unique(flat, axis=0, return_inverse=True)
    x = distinct.reshape(-1, *target.x.shape[1:])
    answered = ask(device, x, progress, campaign=campaign, boards=boards, others=others)
    theirs = answered.outputs
    if theirs.ticks is None:
        raise DeviceError("the device reports no times")
    confirmation = answered.confirmation(in_chunks(target.predictor, x, comparing))
    labels = np.split(theirs.labels[where.ravel()], np.cumsum([len(group) for group in groups])[:-1])
    runs = len(found.runs)
    answers = DeviceAnswers(
        clean=labels[0],
        runs=tuple(labels[1 : 1 + runs]),
        again=tuple(labels[1 + runs :]),
        mismatched=confirmation.mismatched_inputs,
        disagreed=confirmation.disagreed,
        unsteady=symptoms.unsteady(device, x[:_ASKED_AGAIN], theirs.chosen(slice(_ASKED_AGAIN))),
    )
    return Replay(confirmation, theirs.ticks, answers)


def study_robustness(  # noqa: PLR0913 - all that an evaluation depends on
    subject: Subject,
    dataset: Dataset,
    plan: Plan,
    device: Device,
    out: Path,
    stages: Stages,
    *,
    control: Bundle | None = None,
    means: Means | None = None,
    live: Callable[[Budget], None] | None = None,
) -> RobustnessResult:
    """Attack the deployed model and measure it.

    Args:
        subject: the bundle, and the firmware built from it.
        dataset: the data that samples are drawn from.
        plan: the threat model, the attacks and their budgets.
        device: the device that runs the firmware.
        out: the folder for what a resumed run can use again.
        stages: gives the callback that shows a stage's progress.
        control: an undefended model of the same task, for the same attacks.
        means: the processes and boards that take part; by default a process for each core.
        live: if given, the device itself is attacked, with the attacks that need no gradients; called beforehand with
            what that may take.

    Raises:
        BadInputError: data, plan, control and model do not fit each other.
        DeviceError: the device does not answer, or reports no times.
        ToolMissingError: the plan names an attack whose package is not installed.
    """
    plan.check_installed()
    for bundle in (subject.bundle, *(() if control is None else (control,))):
        check_attackable(bundle.manifest)
    samples = draw_samples(subject.bundle, dataset, plan.samples, plan.seed)
    checked = check_data(subject.bundle.manifest, dataset=dataset)
    data_range = find_range(plan.data_range, dataset, subject.bundle.manifest.input)
    means = means or Means()
    with means.opened(device.hello.build_id, emulated=device.emulated) as (crafting, others):
        preparing = stages("Preparing the attacks")
        preparing(0, 1)
        model = victim(subject.bundle, samples, plan, data_range, out, crafting)
        reference = undefended(control, subject.bundle, dataset, plan, out, crafting)
        preparing(1, 1)
        target = model.target
        if live is None:
            with (
                closing(model.store),
                closing(model.store if reference is None else reference.store),
                following(target, plan.balls, out) as seen,
            ):
                found = search(model, plan, reference, stages, seen)
        else:
            balls = [ball.within(model.limits) for ball in plan.balls]
            budget = plan_live(device, target.x, balls, plan.suite(classes(target)))
            live(budget)
            found = search_live(device, target, balls, budget, out / "live", stages("Attacking the device"))
        confirming, comparing = stages("Confirming on the device"), stages("Comparing with the twin")
        replay = confirm(
            device, target, found, confirming, comparing, campaign=out / FILE, boards=means.boards, others=others
        )
    manifest = subject.bundle.manifest
    x_test = manifest.as_samples(to_input_bytes(dataset.x_test, manifest.input.scale, manifest.input.zero_point))
    whole = in_chunks(target.predictor, x_test, stages("The whole test set, on the twin"))
    clean_full = Rate.of(int((whole.labels == dataset.y_test).sum()), len(whole.labels))
    return assemble(
        subject, dataset, plan, samples, target, Findings(found, replay, clean_full, checked, data_range), device
    )


def _in_run(plan: Plan, run: RunContext, stages: Stages) -> RobustnessResult:
    with open_device(run.bundle, run.build, run.port, run.bench) as device:
        subject = Subject(run.bundle, run.build)
        return study_robustness(subject, run.dataset, plan, device, run.out, stages, control=run.control)


ROBUSTNESS = StudyKind("robustness", "attack", Plan, RobustnessResult, _in_run, leads=True, needs_tensorflow=False)
