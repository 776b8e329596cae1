"""Models trained like the attacked one, and what all of them answer to the samples in question."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.float_model import FloatModel
from tritguard.boards import CoreClass
from tritguard.data import Dataset, SampleArray, to_input_bytes
from tritguard.emit import Bundle, write_bundle
from tritguard.files import write_whole
from tritguard.progress import Progress
from tritguard.train.config import CALIBRATION, MODEL, TrainConfig
from tritguard.twin import Twin
from tritguard.versions import versions

Float64 = NDArray[np.float64]
_FEW_TESTED = 500


@dataclass(frozen=True)
class ModelOutputs:
    """What one trained model, in float and deployed, answers to n samples; each array is float64[n, classes].

    Attributes:
        float_logits: the logits of the float model.
        logits: those of the deployed model, from its int32 accumulators; its scores if it has none.
        scores: the int8 outputs of the deployed model as real values.
    """

    float_logits: Float64
    logits: Float64
    scores: Float64


@dataclass(frozen=True)
class Shadow:
    """One shadow model.

    Attributes:
        answers: its answers to the n samples in question.
        seen: bool[n], which of them it was trained on.
        accuracy: its accuracy on some samples that it was not trained on, in float.
    """

    answers: ModelOutputs
    seen: NDArray[np.bool_]
    accuracy: float


@dataclass(frozen=True)
class Pool:
    """The samples that the training data of each shadow model is drawn from.

    Attributes:
        x: members and others of the attacked model, as the data set has them.
        y: int64, their labels.
        asked: int64[n], the positions of the samples in question.
    """

    x: SampleArray
    y: NDArray[np.int64]
    asked: NDArray[np.int64]


def deploy(training: Path, out: Path, name: str, core: CoreClass = "m4") -> Bundle:
    """Convert the model that a training left to a bundle in `out`."""
    from tritguard.convert import keras_to_tflite  # noqa: PLC0415 - imports TensorFlow

    return write_bundle(keras_to_tflite(training / MODEL, training / CALIBRATION), out, name=name, core=core)


def ask(training: Path, bundle: Bundle, x: SampleArray) -> ModelOutputs:
    """Ask a training's model about samples, both in float and deployed (on the twin).

    Args:
        training: the folder with the float model.
        bundle: the deployed model made from it.
        x: the samples, as the data set has them.
    """
    edge, output = bundle.manifest.input, bundle.manifest.output
    steps = to_input_bytes(x, edge.scale, edge.zero_point)
    shown = FloatModel(training / MODEL, edge).predict(steps)
    deployed = Twin(bundle).predict(steps)
    scores = (deployed.scores.astype(np.float64) - output.zero_point) * output.scale
    assert shown.logits is not None
    return ModelOutputs(shown.logits, scores if deployed.logits is None else deployed.logits, scores)


def train_shadows(
    config: TrainConfig, pool: Pool, classes: tuple[str, ...], out: Path, count: int, seed: int, progress: Progress
) -> list[Shadow]:
    """Train shadow models with other seeds, each on its own random part of the pool, at most half of it.

    Args:
        config: the settings of the attacked model's training.
        pool: the samples to draw from.
        classes: their names.
        out: the folder that keeps each model and its answers; what an earlier run has finished is taken from there.
        count: the number of models.
        seed: decides which part each model gets; the models' own seeds follow from it.
        progress: called with (models done, count).
    """
    size = min(config.samples, len(pool.x) // 2)
    shadows = []
    for number in range(count):
        progress(number, count)
        chosen = np.random.default_rng([seed, number]).permutation(len(pool.x))[:size]
        seen = np.isin(pool.asked, chosen)
        shadows.append(_shadow(config, pool, classes, out, chosen, seen, seed + number + 1))
    progress(count, count)
    return shadows


def _shadow(
    config: TrainConfig, pool: Pool, classes: tuple[str, ...], out: Path, chosen: NDArray[np.int64],
    seen: NDArray[np.bool_], seed: int,
) -> Shadow:  # fmt: skip
    from tritguard.train.fit import train  # noqa: PLC0415 - imports TensorFlow

    rest = np.setdiff1d(np.arange(len(pool.x)), chosen)[:_FEW_TESTED]
    data = Dataset(
        "shadow", pool.x[rest], pool.y[rest], classes, "as the model's", "as the data set's", pool.x[chosen],
        pool.y[chosen],
    )  # fmt: skip
    own = config.model_copy(update={"samples": len(chosen), "seed": seed})
    identity = json.dumps([own.model_dump(mode="json"), data.sha256, pool.asked.tolist(), versions()])
    folder = out / hashlib.sha256(identity.encode()).hexdigest()[:16]
    kept = folder / "answers.npz"
    if (found := _load(kept)) is None:
        accuracy = train(own, data, folder, all_forms=False).accuracy
        bundle = deploy(folder, folder / "bundle", "shadow")
        found = (ask(folder, bundle, pool.x[pool.asked]), accuracy)
        _save(kept, *found)
    return Shadow(found[0], seen, found[1])


def _save(path: Path, answers: ModelOutputs, accuracy: float) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, accuracy=accuracy, **vars(answers))
    write_whole(path, buffer.getvalue())


def _load(path: Path) -> tuple[ModelOutputs, float] | None:
    """Load what an earlier run left; None if it is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            answers = ModelOutputs(stored["float_logits"], stored["logits"], stored["scores"])
            return answers, float(stored["accuracy"])
    except Exception:  # NumPy, zipfile and zlib raise many kinds on a damaged file
        return None
