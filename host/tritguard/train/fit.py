"""The fit loop: a ternary network from a data set to `model.keras`, `calibration.npz` and `train.json`."""

from __future__ import annotations

import io
import math
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.data import Dataset, Samples
from tritguard.errors import BadInputError
from tritguard.files import write_whole
from tritguard.train.backend import keras, tf
from tritguard.train.config import CALIBRATION, MODEL, RECORD, TrainConfig, TrainRecord
from tritguard.train.nets import build_net
from tritguard.train.quantize import dead_channels, quantize
from tritguard.train.recalibrate import norm_layers, recalibrate

Report = Callable[[int, int], None]
Float32 = NDArray[np.float32]

_RECALIBRATION_SAMPLES = 2000
_EVALUATION_BATCH = 1000


def train(config: TrainConfig, dataset: Dataset, out: Path, report: Report | None = None) -> TrainRecord:
    """Train a ternary network and write it to a folder.

    On a CPU the same seed gives the same weights, as long as TensorFlow's version and the number of its threads stay
    the same; on a GPU some of TensorFlow's kernels add in any order, and only nearly the same weights come out.

    Args:
        config: the settings; `config.data` is not looked at, `dataset` is what it names.
        dataset: samples [n, height, width, channels], uint8 pixels or float32, with a training set.
        out: folder for `model.keras`, `calibration.npz` and `train.json`; written at the end, the record last.
        report: called with (steps done, steps in all).

    Raises:
        BadInputError: the data set does not fit, or the loss did not stay finite.
    """
    x, y = _training_set(config, dataset)
    started = time.monotonic()
    keras.utils.set_random_seed(config.seed)
    model = quantize(build_net(config, x.shape[1:], len(dataset.classes)), config.quantize)
    norms = norm_layers(model)
    steps = config.epochs * math.ceil(len(x) / config.batch_size)
    progress = _Progress(report, steps + len(norms))
    loss = _fit(model, config, _input_units(x), y, steps, progress)
    for norm in norms:
        recalibrate(model, norm, _input_units(x[:_RECALIBRATION_SAMPLES]))
        progress.step()
    seconds = time.monotonic() - started

    record = TrainRecord(
        config=config,
        data_name=dataset.name,
        data_sha256=dataset.sha256,
        train_samples=len(x),
        test_samples=len(dataset.x_test),
        steps=steps,
        seconds=round(seconds, 2),
        loss=loss,
        accuracy=_accuracy(model, dataset),
        parameters=model.count_params(),
        dead_channels=dead_channels(model),
        versions={"tensorflow": tf.__version__, "keras": keras.__version__, "tritguard": version("tritguard")},
    )
    _write(out, model, x[: config.calibration], record)
    return record


class _Progress(keras.callbacks.Callback):  # type: ignore[misc]
    """Counts steps; Keras calls it after each of the fit."""

    def __init__(self, report: Report | None, total: int) -> None:
        super().__init__()
        self._report = report
        self._done = 0
        self._total = total
        self._show()  # the first batch takes seconds, TensorFlow compiles: show the bar before it

    def step(self) -> None:
        self._done += 1
        self._show()

    def _show(self) -> None:
        if self._report:
            self._report(self._done, self._total)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.step()


def _training_set(config: TrainConfig, dataset: Dataset) -> tuple[Samples, NDArray[np.int64]]:
    if dataset.x_train is None or dataset.y_train is None:
        raise BadInputError("no training set", where=dataset.name, fix="give a data set with x_train and y_train")
    if dataset.x_train.dtype == np.int8:
        raise BadInputError(
            "int8 samples are some model's input bytes; a new model has none yet",
            where=dataset.name,
            fix="give uint8 pixels or float32 samples",
        )
    if dataset.x_train.ndim != 4:
        raise BadInputError(
            f"samples have shape {dataset.x_train.shape[1:]}",
            where=dataset.name,
            fix="give samples of shape (height, width, channels)",
        )
    chosen = np.random.default_rng(config.seed).permutation(len(dataset.x_train))[: config.samples]
    return dataset.x_train[chosen], dataset.y_train[chosen]


def _input_units(x: Samples) -> Float32:
    """Samples as the float model takes them: pixels over 255."""
    return np.asarray(x / np.float32(255) if x.dtype == np.uint8 else x, np.float32)


def _fit(model: Any, config: TrainConfig, x: Float32, y: NDArray[np.int64], steps: int, progress: _Progress) -> float:
    """Minimise the cross-entropy; returns the mean loss over the last epoch."""
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,  # XLA is several times slower here on a CPU
    )
    history = model.fit(x, y, batch_size=config.batch_size, epochs=config.epochs, verbose=0, callbacks=[progress])
    loss = float(history.history["loss"][-1])
    if not math.isfinite(loss):
        raise BadInputError(f"the loss became {loss}", where="train", fix="lower learning_rate")
    return loss


def _accuracy(model: Any, dataset: Dataset) -> float:
    logits = model.predict(_input_units(dataset.x_test), batch_size=_EVALUATION_BATCH, verbose=0)
    return float((logits.argmax(axis=1) == dataset.y_test).mean())


def _write(out: Path, model: Any, calibration: Samples, record: TrainRecord) -> None:
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / MODEL
        keras.Model(model.input, model.output, name=model.name).save(saved)  # without the optimizer's state
        content = saved.read_bytes()
    packed = io.BytesIO()
    np.savez_compressed(packed, x=calibration)
    write_whole(out / MODEL, content)
    write_whole(out / CALIBRATION, packed.getvalue())
    write_whole(out / RECORD, record.model_dump_json(indent=2) + "\n")
