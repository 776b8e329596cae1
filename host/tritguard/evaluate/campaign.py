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
from tritguard.errors import BadInputError, DeviceError
from tritguard.evaluate.assemble import Findings, Replay, Samples, Subject, assemble
from tritguard.evaluate.crafting import Report, Run, craft_all
from tritguard.evaluate.plan import Plan
from tritguard.evaluate.result import Confirmation, Rate, Result, Throughput
from tritguard.evaluate.store import Store
from tritguard.evaluate.workers import Workers
from tritguard.graph import read_graph
from tritguard.predictor import Int8, Outputs, Predictor
from tritguard.twin import Twin

_CHUNK = 256  # predictions between two steps of a progress bar


def draw_samples(bundle: Bundle, dataset: Dataset, plan: Plan) -> Samples:
    """Draw the plan's samples from the test set with its seed.

    Raises:
        BadInputError: the data does not fit the model, or holds too few samples.
    """
    manifest = bundle.manifest
    outputs = int(np.prod(manifest.output.shape))
    if tuple(dataset.x_test.shape[1:]) != manifest.input.shape:
        raise BadInputError(
            f"samples are {list(dataset.x_test.shape[1:])}, the model takes {list(manifest.input.shape)}",
            where=dataset.name,
        )
    if dataset.y_test.max() >= outputs:
        raise BadInputError(f"label {dataset.y_test.max()} for a model with {outputs} outputs", where=dataset.name)
    if plan.samples > len(dataset.x_test):
        raise BadInputError(
            f"{plan.samples} samples wanted, the test set has {len(dataset.x_test)}",
            where=dataset.name,
            fix="ask for fewer",
        )
    chosen = np.sort(np.random.default_rng(plan.seed).permutation(len(dataset.x_test))[: plan.samples])
    x = to_input_bytes(dataset.x_test[chosen], manifest.input.scale, manifest.input.zero_point)
    return Samples(x, dataset.y_test[chosen].astype(np.int64), chosen)


def prepare(bundle: Bundle, samples: Samples, plan: Plan) -> Target:
    """The attacked model: the twin, and a view whose loss is kept from saturating.

    The temperature brings the median clean margin of the logits to four, where float32 still resolves the softmax.
    """
    twin = Twin(bundle)
    graph = read_graph(bundle.model_path.read_bytes())
    outputs = twin.predict(samples.x)
    scale = bundle.manifest.output.scale
    values = outputs.scores * scale if outputs.logits is None else outputs.logits
    top = np.sort(values, axis=1)[:, -2:]
    temperature = max(1.0, float(np.median(top[:, 1] - top[:, 0])) / 4)
    return Target(twin, GradientView(graph, temperature), samples.x, samples.y, plan.seed, access=plan.access)


def craft(
    subject: Subject, target: Target, plan: Plan, out: Path, workers: int, report: Report
) -> tuple[tuple[Run, ...], Throughput]:
    """All attacks of the plan; what is found is kept in `out`/crafted."""
    manifest = subject.bundle.manifest
    assert target.view is not None
    return craft_all(
        target,
        plan.balls,
        plan.suite(classes=int(np.prod(manifest.output.shape))),
        Store(out / "crafted", manifest.model_sha256),
        report,
        Workers(workers, subject.bundle.path, target.view.temperature),
    )


def in_chunks(predictor: Predictor, x: Int8, report: Report) -> Outputs:
    """Predict int8[n, *input_shape] on the host, telling how far it is."""
    parts = []
    for start in range(0, len(x), _CHUNK):
        report(start, len(x))
        parts.append(predictor.predict(x[start : start + _CHUNK]))
    report(len(x), len(x))
    logits = [part.logits for part in parts if part.logits is not None]
    return Outputs(np.concatenate([part.scores for part in parts]), np.concatenate(logits) if logits else None)


def confirm(device: Device, target: Target, runs: tuple[Run, ...], report: Report, comparing: Report) -> Replay:
    """Replay every clean and crafted input on the device and compare its bytes with the twin's."""
    groups = [target.x, *(run.x for run in runs)]
    flat = np.concatenate(groups).reshape(sum(map(len, groups)), -1)
    distinct, where = np.unique(flat, axis=0, return_inverse=True)
    x = distinct.reshape(-1, *target.x.shape[1:])
    start = time.perf_counter()
    theirs = device.predict(x, report)
    seconds = time.perf_counter() - start
    ours = in_chunks(target.predictor, x, comparing)
    if theirs.ticks is None:
        raise DeviceError("the device reports no times")
    labels = np.split(theirs.labels[where.ravel()], np.cumsum([len(group) for group in groups])[:-1])
    per_input = theirs.scores[0].nbytes + (0 if theirs.logits is None else 4 * theirs.logits.shape[1])
    confirmation = Confirmation(
        inputs=len(x),
        bytes_compared=len(x) * per_input,
        mismatched_inputs=_mismatches(ours, theirs),
        resent_frames=device.resent_frames,
        seconds=seconds,
    )
    return Replay(confirmation, theirs.ticks, labels[0], tuple(labels[1:]))


def _mismatches(ours: Outputs, theirs: Outputs) -> int:
    """Inputs on which a byte differs. Logits are accumulators times one scale on both sides: equal or not."""
    different = (ours.scores != theirs.scores).any(axis=1)
    if ours.logits is not None and theirs.logits is not None:
        different |= (ours.logits != theirs.logits).any(axis=1)
    return int(different.sum())


def evaluate(
    subject: Subject,
    dataset: Dataset,
    plan: Plan,
    device: Device,
    out: Path,
    progress: Callable[[str], Report],
    workers: int = 1,
) -> Result:
    """Attack the deployed model and measure it.

    Args:
        subject: bundle, build and board belong together.
        device: what runs the build.
        out: folder for what a resumed run can use again.
        progress: gives the callback that shows a stage's progress.
        workers: processes that craft at the same time.
    """
    samples = draw_samples(subject.bundle, dataset, plan)
    preparing = progress("Preparing the attacks")
    preparing(0, 1)
    target = prepare(subject.bundle, samples, plan)
    preparing(1, 1)
    runs, throughput = craft(subject, target, plan, out, workers, progress("Crafting on the twin"))
    replay = confirm(device, target, runs, progress("Confirming on the device"), progress("Comparing with the twin"))
    manifest = subject.bundle.manifest
    x_test = to_input_bytes(dataset.x_test, manifest.input.scale, manifest.input.zero_point)
    whole = in_chunks(target.predictor, x_test, progress("The whole test set, on the twin"))
    clean_full = Rate.of(int((whole.labels == dataset.y_test).sum()), len(whole.labels))
    return assemble(subject, dataset, plan, samples, target, Findings(runs, throughput, replay, clean_full), device)
