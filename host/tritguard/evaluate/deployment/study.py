"""Runs the test set on the device: accuracy, confusion, latency, and whether its bytes are the twin's and oracle's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tritguard.data import Dataset
from tritguard.device import Device, open_device
from tritguard.emit import Bundle
from tritguard.errors import DeviceError
from tritguard.evaluate.confirmation import ask
from tritguard.evaluate.data_checks import check_data
from tritguard.evaluate.deployment.checks import check
from tritguard.evaluate.deployment.result import DeploymentPlan, DeploymentResult, OracleComparison
from tritguard.evaluate.findings import guessing
from tritguard.evaluate.kind import RunContext, StudyKind
from tritguard.evaluate.measurement import Firmware, Latency, tools_of
from tritguard.evaluate.samples import class_names, draw_samples
from tritguard.evaluate.study import ModelIdentity, Rate, StudyProvenance, status_of
from tritguard.oracle import oracle_available, predict_apart
from tritguard.predictor import Int8
from tritguard.progress import Progress, Stages
from tritguard.twin import Twin


def study_deployment(device: Device, dataset: Dataset, plan: DeploymentPlan, stages: Stages) -> DeploymentResult:
    """Run the test set on a device, and measure it.

    Args:
        device: the device that runs the model.
        dataset: its test set is used.
        plan: how many samples the device and the oracle are given.
        stages: gives the callback that shows a stage's progress.

    Raises:
        BadInputError: data and model do not fit each other.
        BadModelError: the oracle refuses the model.
        DeviceError: the device stopped answering, or reports no times.
        MismatchError: see `ask`.
    """
    bundle = device.bundle
    drawn = draw_samples(bundle, dataset, plan.samples or len(dataset.x_test), plan.seed, wide=True)
    checked = check_data(bundle.manifest, dataset=dataset)
    answered = ask(device, drawn.x, stages(f"The test set on {device.build.record.board.name}"))
    outputs, confirmation = answered.outputs, answered.confirmation(Twin(bundle).predict(drawn.x))
    if outputs.ticks is None:
        raise DeviceError("the device reports no times")
    oracle = _oracle(bundle, drawn.x, outputs.answered, plan.oracle_samples, stages("Asking the oracle"))
    confusion = _confusion(drawn.y, outputs.labels, bundle.manifest.label_rule.classes)
    accuracy = Rate.of(int(confusion.trace()), len(drawn.y))
    issues = (*checked.issues, *check(accuracy, guessing(drawn.y.tolist()), confirmation, oracle))
    return DeploymentResult(
        status=status_of(issues),
        issues=issues,
        provenance=StudyProvenance.now(dataset, plan.seed, drawn.indices.tolist(), tools_of(device)),
        plan=plan,
        model=ModelIdentity.of(bundle),
        classes=class_names(bundle.manifest, dataset),
        accuracy=accuracy,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        confirmation=confirmation,
        oracle=oracle,
        firmware=Firmware.of(device),
        latency=Latency.of(device, outputs.ticks, 1 if outputs.frames is None else outputs.frames.shape[1]),
    )


def _confusion(truth: NDArray[np.int64], answers: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """int64[classes, classes]: how many samples of each class (row) got each answer (column)."""
    return np.bincount(truth * classes + answers, minlength=classes * classes).reshape(classes, classes)


def _oracle(bundle: Bundle, x: Int8, answers: Int8, count: int, progress: Progress) -> OracleComparison | None:
    """Compare the device's answers, steps[n, ...], with the oracle's on some of the inputs; None if it is not asked."""
    if count == 0 or not oracle_available():
        return None
    chosen = np.unique(np.linspace(0, len(x) - 1, min(count, len(x))).astype(int))
    progress(0, 1)
    theirs = predict_apart(bundle.model_path.read_bytes(), x[chosen]).reshape(len(chosen), -1)
    progress(1, 1)
    different = (theirs != answers[chosen].reshape(len(chosen), -1)).any(axis=1)
    return OracleComparison(inputs=len(chosen), bytes_compared=theirs.nbytes, mismatched_inputs=int(different.sum()))


def _in_run(plan: DeploymentPlan, run: RunContext, stages: Stages) -> DeploymentResult:
    with open_device(run.bundle, run.build, run.port, run.bench) as device:
        return study_deployment(device, run.dataset, plan, stages)


DEPLOYMENT = StudyKind("deployment", "evaluate", DeploymentPlan, DeploymentResult, _in_run, needs_tensorflow=False)
