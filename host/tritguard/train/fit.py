"""Trains a quantized network on a data set, and writes a folder with the model, its record and its card."""

from __future__ import annotations

import io
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tritguard.data import Dataset, SampleArray
from tritguard.files import scratch_folder, write_whole
from tritguard.progress import Progress
from tritguard.train.backend import keras, tf
from tritguard.train.card import model_card
from tritguard.train.config import (
    CALIBRATION,
    CARD,
    CHECKPOINT,
    CURVES,
    LOGS,
    MODEL,
    PGD_SAMPLES,
    RECORD,
    TrainConfig,
    TrainRecord,
)
from tritguard.train.evaluation import PGD_STEPS, evaluate, forms
from tritguard.train.inputs import TrainingSet, input_units, training_set
from tritguard.train.journal import EventLog, draw_curves
from tritguard.train.loop import CHECKPOINT_SECONDS, Loop
from tritguard.train.nets import build_net
from tritguard.train.quantize import dead_channels, findings, quantize, stored
from tritguard.train.recalibrate import RECALIBRATION_SAMPLES, norm_layers, recalibrate
from tritguard.train.start import set_start_weights
from tritguard.train.teacher import load_teacher
from tritguard.train.watch import SAMPLES, Watch, overfitting


def train(
    config: TrainConfig,
    dataset: Dataset,
    out: Path,
    progress: Progress | None = None,
    *,
    show_loss: Callable[[float], None] | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    all_forms: bool = True,
) -> TrainRecord:
    """Train a network and write it to a folder. A training that was interrupted in this folder continues.

    On a CPU the same seed gives the same weights, interrupted or not, as long as TensorFlow's version and the number
    of its threads stay the same. On a GPU some of TensorFlow's kernels add in an unspecified order, so the weights are
    only nearly the same.

    Args:
        config: the settings. `config.data` is not read; `dataset` is the data set that it names.
        dataset: a data set with training samples [n, height, width, channels], uint8 pixels or float32.
        out: folder for `model.keras`, `calibration.npz`, `card.md` and `train.json`, which are written at the end, the
            record last. During the training, `checkpoint.npz` holds its state, and `logs/` and `curve.svg` show it.
        progress: called with (steps done, total steps).
        show_loss: called after each step with the mean of the loss over the epoch so far.
        checkpoint_seconds: the time between checkpoints, which is the most work that a kill can cost.
        all_forms: measure the accuracies of the float and int8 forms as well as those of the form that ships.

    Raises:
        BadInputError: the data set or the weights to start from do not fit, the folder holds a checkpoint of another
            training, or the loss or a weight became infinite or NaN.
    """
    samples = training_set(config, dataset)
    keras.utils.set_random_seed(config.seed)
    net = build_net(config, samples.x.shape[1:], len(dataset.classes))
    start_sha256 = set_start_weights(net, config.start) if config.start else None
    model = quantize(net, config.quantize, (samples.grid.low, samples.grid.high))
    teacher, teacher_sha256 = _teacher(config, samples, len(dataset.classes))
    versions = {"tensorflow": tf.__version__, "keras": keras.__version__, "tritguard": version("tritguard")}
    identity = {
        "config": config.model_dump(mode="json", exclude={"start": True, "teacher": {"model"}}),  # paths do not matter
        "start": start_sha256,
        "teacher": teacher_sha256,
        "data": dataset.sha256,
        "versions": versions,
    }
    watch = _watch(model, config, samples, dataset)
    loop = Loop(model, config, samples, identity, out / CHECKPOINT, teacher=teacher, watch=watch)
    norms = norm_layers(model)
    stages = _Steps(progress, loop.steps + len(norms) + len(forms(config.quantize, all_forms=all_forms)))
    state = loop.run(stages.set, _journal(out), checkpoint_seconds, show_loss or (lambda loss: None))

    model = stored(model)
    statistics = loop.trained_on(RECALIBRATION_SAMPLES)
    recalibrate(model, statistics, stages.advance)
    evaluation = evaluate(model, config, samples, statistics, dataset, stages.advance, all_forms=all_forms)
    record = TrainRecord(
        config=config,
        start_sha256=start_sha256,
        teacher_sha256=teacher_sha256,
        data_name=dataset.name,
        data_sha256=dataset.sha256,
        train_samples=len(samples.x),
        test_samples=len(dataset.x_test),
        steps=loop.steps,
        seconds=round(state.seconds, 2),
        hardware=f"{os.cpu_count()} {platform.machine()} CPU cores"
        if not tf.config.list_physical_devices("GPU")
        else "GPU",
        loss=state.history[-1]["loss"],
        history=tuple(state.history),
        accuracy=list(evaluation.values())[-1].clean,
        evaluation=evaluation,
        parameters=model.count_params(),
        dead_channels=dead_channels(model),
        findings=(*overfitting(state.history), *findings(model)),
        versions=versions,
    )
    _write(out, model, samples.x[: config.calibration], record, dataset)
    return record


def _teacher(config: TrainConfig, samples: TrainingSet, classes: int) -> tuple[Any | None, str | None]:
    if not config.teacher.model:
        return None, None
    return load_teacher(config.teacher.model, samples.x.shape[1:], classes, samples.grid)


def _watch(model: Any, config: TrainConfig, samples: TrainingSet, dataset: Dataset) -> Watch | None:
    """The watch over a training against FGSM, on test samples; its results do not influence the training."""
    if config.adversarial.attack != "fgsm":
        return None
    return Watch(model, config, samples.grid, input_units(dataset.x_test[:SAMPLES]), dataset.y_test[:SAMPLES])


class _Steps:
    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def set(self, done: int) -> None:
        self._done = done
        if self._progress:
            self._progress(done, self._total)

    def advance(self) -> None:
        self.set(self._done + 1)


def _journal(out: Path) -> Callable[[list[dict[str, float]]], None]:
    log = EventLog(out / LOGS)

    def write(history: list[dict[str, float]]) -> None:
        log.write(len(history), history[-1])
        draw_curves(out / CURVES, history)

    return write


def _write(out: Path, model: Any, calibration: SampleArray, record: TrainRecord, dataset: Dataset) -> None:
    with scratch_folder() as folder:
        saved = folder / MODEL
        model.save(saved)
        content = saved.read_bytes()
    packed = io.BytesIO()
    np.savez_compressed(packed, x=calibration)
    write_whole(out / MODEL, content)
    write_whole(out / CALIBRATION, packed.getvalue())
    write_whole(out / CARD, model_card(record, dataset, f"{PGD_SAMPLES} samples, {PGD_STEPS} steps"))
    write_whole(out / RECORD, record.model_dump_json(indent=2) + "\n")
    (out / CHECKPOINT).unlink(missing_ok=True)
