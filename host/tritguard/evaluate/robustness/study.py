"""A whole evaluation: craft on the twin, confirm on the device, measure, check, and put it all in one Result."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tritguard.attack import Target
from tritguard.attack.view import GradientView
from tritguard.data import Dataset, to_input_bytes
from tritguard.device import Device
from tritguard.emit import Bundle
from tritguard.errors import DeviceError
from tritguard.evaluate.crafting.store import Store
from tritguard.evaluate.crafting.workers import Workers
from tritguard.evaluate.robustness import symptoms
from tritguard.evaluate.robustness.assemble import Findings, Replay, Subject, assemble
from tritguard.evaluate.robustness.judgement import Answers
from tritguard.evaluate.robustness.live import Budget, plan_live, search_live
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.result import Result
from tritguard.evaluate.robustness.search import Found, Victim, classes, search
from tritguard.evaluate.samples import Samples, compared, differing, draw_samples
from tritguard.evaluate.study import Confirmation, Rate
from tritguard.predictor import Int8, Outputs, Predictor
from tritguard.progress import Progress, Stages
from tritguard.twin import Twin

_CHUNK = 256  # predictions between two steps of a progress bar
_ASKED_AGAIN = 16  # inputs the device is asked twice


def prepare(bundle: Bundle, samples: Samples, plan: Plan) -> Target:
    """The attacked model: the twin, and a view whose loss is kept from saturating.

    The temperature brings the median clean margin of the logits to four, where float32 still resolves the softmax.
    """
    twin = Twin(bundle)
    outputs = twin.predict(samples.x)
    scale = bundle.manifest.output.scale
    values = outputs.scores * scale if outputs.logits is None else outputs.logits
    top = np.sort(values, axis=1)[:, -2:]
    temperature = max(1.0, float(np.median(top[:, 1] - top[:, 0])) / 4)
    view, aim = GradientView(bundle.golden, temperature), None
    if plan.goal == "targeted":
        away = np.random.default_rng(plan.seed).integers(1, values.shape[1], len(samples.y))
        aim = (samples.y + away) % values.shape[1]
    return Target(twin, view, samples.x, samples.y, plan.seed, aim, plan.access)


def victim(bundle: Bundle, samples: Samples, plan: Plan, out: Path, workers: int) -> Victim:
    """A model under attack; what is found is kept in `out`/crafted."""
    manifest, target = bundle.manifest, prepare(bundle, samples, plan)
    assert target.view is not None
    return Victim(
        name=manifest.name,
        sha256=manifest.model_sha256,
        target=target,
        store=Store(out / "crafted", manifest.model_sha256),
        workers=Workers(workers, bundle.path, target.view.temperature),
    )


def in_chunks(predictor: Predictor, x: Int8, progress: Progress) -> Outputs:
    """Predict int8[n, *input_shape] on the host, telling how far it is."""
    parts = []
    for start in range(0, len(x), _CHUNK):
        progress(start, len(x))
        parts.append(predictor.predict(x[start : start + _CHUNK]))
    progress(len(x), len(x))
    logits = [part.logits for part in parts if part.logits is not None]
    return Outputs(np.concatenate([part.scores for part in parts]), np.concatenate(logits) if logits else None)


def confirm(device: Device, target: Target, found: Found, progress: Progress, comparing: Progress) -> Replay:
    """Replay every clean and crafted input on the device, compare its bytes with the twin's, and ask some again."""
    groups = [target.x, *(run.x for run in found.runs), *([] if found.again is None else [found.again.x])]
    flat = np.concatenate(groups).reshape(sum(map(len, groups)), -1)
    distinct, where = np.unique(flat, axis=0, return_inverse=True)
    x = distinct.reshape(-1, *target.x.shape[1:])
    start = time.perf_counter()
    theirs = device.predict(x, progress)
    seconds = time.perf_counter() - start
    ours = in_chunks(target.predictor, x, comparing)
    if theirs.ticks is None:
        raise DeviceError("the device reports no times")
    labels = np.split(theirs.labels[where.ravel()], np.cumsum([len(group) for group in groups])[:-1])
    mismatched = differing(ours, theirs)
    confirmation = Confirmation(
        inputs=len(x),
        bytes_compared=compared(theirs),
        mismatched_inputs=mismatched,
        resent_frames=device.resent_frames,
        seconds=seconds,
    )
    runs = len(found.runs)
    answers = Answers(
        clean=labels[0],
        runs=tuple(labels[1 : 1 + runs]),
        again=None if found.again is None else labels[1 + runs],
        mismatched=mismatched,
        unsteady=symptoms.unsteady(device, x[:_ASKED_AGAIN], _first(theirs, _ASKED_AGAIN)),
    )
    return Replay(confirmation, theirs.ticks, answers)


def _first(outputs: Outputs, count: int) -> Outputs:
    return Outputs(outputs.scores[:count], None if outputs.logits is None else outputs.logits[:count])


def evaluate(  # noqa: PLR0913 - all that an evaluation depends on
    subject: Subject,
    dataset: Dataset,
    plan: Plan,
    device: Device,
    out: Path,
    stages: Stages,
    *,
    control: Bundle | None = None,
    workers: int = 1,
    live: Callable[[Budget], None] | None = None,
) -> Result:
    """Attack the deployed model and measure it.

    Args:
        subject: bundle, build and board belong together.
        device: what runs the build.
        out: folder for what a resumed run can use again.
        stages: gives the callback that shows a stage's progress.
        control: an undefended model of the same task, for the same attacks.
        workers: processes that craft at the same time.
        live: attack the device itself, with what needs no gradients; told beforehand what it may take.
    """
    samples = draw_samples(subject.bundle, dataset, plan.samples, plan.seed)
    preparing = stages("Preparing the attacks")
    preparing(0, 1)
    model = victim(subject.bundle, samples, plan, out, workers)
    undefended = (
        None
        if control is None
        else victim(control, draw_samples(control, dataset, plan.samples, plan.seed), plan, out, workers)
    )
    preparing(1, 1)
    target = model.target
    if live is None:
        found = search(model, plan, undefended, stages)
    else:
        budget = plan_live(device, target.x, plan.balls, plan.suite(classes(target)))
        live(budget)
        found = search_live(device, target, plan.balls, budget, out / "live", stages("Attacking the device"))
    replay = confirm(device, target, found, stages("Confirming on the device"), stages("Comparing with the twin"))
    manifest = subject.bundle.manifest
    x_test = to_input_bytes(dataset.x_test, manifest.input.scale, manifest.input.zero_point)
    whole = in_chunks(target.predictor, x_test, stages("The whole test set, on the twin"))
    clean_full = Rate.of(int((whole.labels == dataset.y_test).sum()), len(whole.labels))
    return assemble(subject, dataset, plan, samples, target, Findings(found, replay, clean_full), device)
