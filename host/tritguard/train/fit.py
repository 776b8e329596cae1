"""Training: a quantized network from a data set to `model.keras`, `calibration.npz` and `train.json`."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tritguard.data import Dataset, Samples
from tritguard.files import write_whole
from tritguard.train.backend import keras, tf
from tritguard.train.config import CALIBRATION, CHECKPOINT, MODEL, RECORD, TrainConfig, TrainRecord
from tritguard.train.inputs import input_units, training_set
from tritguard.train.loop import CHECKPOINT_SECONDS, Loop
from tritguard.train.nets import build_net
from tritguard.train.quantize import dead_channels, findings, quantize, stored
from tritguard.train.recalibrate import norm_layers, recalibrate

Report = Callable[[int, int], None]

_RECALIBRATION_SAMPLES = 2000
_EVALUATION_BATCH = 1000


def train(
    config: TrainConfig,
    dataset: Dataset,
    out: Path,
    report: Report | None = None,
    *,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> TrainRecord:
    """Train a network and write it to a folder; a training that was interrupted there goes on.

    On a CPU the same seed gives the same weights, interrupted or not, as long as TensorFlow's version and the number
    of its threads stay the same; on a GPU some of TensorFlow's kernels add in any order, and only nearly the same
    weights come out.

    Args:
        config: the settings; `config.data` is not looked at, `dataset` is what it names.
        dataset: samples [n, height, width, channels], uint8 pixels or float32, with a training set.
        out: folder for `model.keras`, `calibration.npz` and `train.json`; written at the end, the record last. In
            between, `checkpoint.npz` keeps the state.
        report: called with (steps done, steps in all).
        checkpoint_seconds: longest work a kill can cost.

    Raises:
        BadInputError: the data set does not fit, the folder holds a checkpoint of another training, or the loss did
            not stay finite.
    """
    samples = training_set(config, dataset)
    keras.utils.set_random_seed(config.seed)
    net = build_net(config, samples.x.shape[1:], len(dataset.classes))
    model = quantize(net, config.quantize, (samples.grid.low, samples.grid.high))
    norms = norm_layers(model)
    versions = {"tensorflow": tf.__version__, "keras": keras.__version__, "tritguard": version("tritguard")}
    identity = {"config": config.model_dump(mode="json"), "data": dataset.sha256, "versions": versions}
    loop = Loop(model, config, samples, identity, out / CHECKPOINT)

    def show(done: int) -> None:
        if report:
            report(done, loop.steps + len(norms))

    state = loop.run(show, checkpoint_seconds)
    model = stored(model)
    for done, norm in enumerate(norm_layers(model), start=loop.steps + 1):
        recalibrate(model, norm, input_units(samples.x[:_RECALIBRATION_SAMPLES]))
        show(done)
    record = TrainRecord(
        config=config,
        data_name=dataset.name,
        data_sha256=dataset.sha256,
        train_samples=len(samples.x),
        test_samples=len(dataset.x_test),
        steps=loop.steps,
        seconds=round(state.seconds, 2),
        loss=state.history[-1]["loss"],
        history=tuple(state.history),
        accuracy=_accuracy(model, dataset),
        parameters=model.count_params(),
        dead_channels=dead_channels(model),
        findings=findings(model),
        versions=versions,
    )
    _write(out, model, samples.x[: config.calibration], record)
    return record


def _accuracy(model: Any, dataset: Dataset) -> float:
    logits = model.predict(input_units(dataset.x_test), batch_size=_EVALUATION_BATCH, verbose=0)
    return float((logits.argmax(axis=1) == dataset.y_test).mean())


def _write(out: Path, model: Any, calibration: Samples, record: TrainRecord) -> None:
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / MODEL
        model.save(saved)
        content = saved.read_bytes()
    packed = io.BytesIO()
    np.savez_compressed(packed, x=calibration)
    write_whole(out / MODEL, content)
    write_whole(out / CALIBRATION, packed.getvalue())
    write_whole(out / RECORD, record.model_dump_json(indent=2) + "\n")
    (out / CHECKPOINT).unlink(missing_ok=True)
