"""Drawing samples from a test set, and comparing the bytes that two predictors answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritguard.data import Dataset
from tritguard.emit import Bundle
from tritguard.emit.bundle import Manifest
from tritguard.errors import BadInputError, UnsupportedOpError
from tritguard.graph.stateful import Lstm, Svdf
from tritguard.predictor import Int8, Outputs


@dataclass(frozen=True)
class Samples:
    """The part of a test set that a study uses.

    Attributes:
        x: steps[n, *input_shape], clean inputs on the model's input grid.
        y: int64[n], labels.
        indices: int64[n], their positions in the test set, rising.
    """

    x: Int8
    y: NDArray[np.int64]
    indices: NDArray[np.int64]


def check_given(given: Sequence[object], what: str) -> None:
    """Check that something is given that a study could be of.

    Raises:
        BadInputError: nothing is; `what` names what is wanted.
    """
    if not given:
        raise BadInputError(f"no {what} is given, so that nothing can be measured", fix="give at least one")


def draw_samples(bundle: Bundle, dataset: Dataset, count: int, seed: int, *, wide: bool = False) -> Samples:
    """Draw `count` different samples from the test set, at random with this seed.

    Args:
        bundle: the model.
        dataset: its test set is drawn from.
        count: how many.
        seed: the seed of the draw.
        wide: whether they are for a study that takes models with 16-bit activations.

    Raises:
        BadInputError: the data does not fit the model, the model's output has no class, the test set has fewer
            samples, or the model has 16-bit activations and `wide` is false.
    """
    manifest = bundle.manifest
    if not wide:
        manifest.check_narrow()
    shape = dataset.x_test.shape[1:]
    if not manifest.takes(shape) and shape != manifest.input_shape:
        raise BadInputError(
            f"samples have shape {list(dataset.x_test.shape[1:])}, the model takes {manifest.sample_shape}",
            where=dataset.name,
        )
    if manifest.label_rule.kind == "none":
        raise BadInputError(
            f"its output of shape {list(manifest.output.shape)} is not a vector of scores, so no input has a class",
            where=manifest.name,
            fix="give a classifier, whose output has one axis that is longer than 1",
        )
    dataset.check_labels(manifest.label_rule.classes)
    if count > len(dataset.x_test):
        raise BadInputError(
            f"the test set has {len(dataset.x_test)} samples, {count} are wanted",
            where=dataset.name,
            fix=f"ask for fewer with --samples {len(dataset.x_test)}, or samples in a configuration",
        )
    chosen = np.sort(np.random.default_rng(seed).permutation(len(dataset.x_test))[:count])
    x = manifest.input.steps_of(dataset.x_test[chosen])
    return Samples(manifest.as_samples(x), dataset.y_test[chosen].astype(np.int64), chosen)


def class_names(manifest: Manifest, dataset: Dataset) -> tuple[str, ...]:
    """A name for each class of the model: its own, else the data's; its number where neither names it."""
    names, count = manifest.classes or dataset.classes, manifest.label_rule.classes
    return (*names[:count], *map(str, range(len(names), count)))


def without_recurrent(bundle: Bundle, why: str) -> None:
    """Check that a model has no layer whose op keeps its own state, for studies that do not know such layers.

    Raises:
        UnsupportedOpError: it has an LSTM or SVDF; `why` says what that means here.
    """
    for op in bundle.golden.ops:
        if isinstance(op, Lstm | Svdf):
            raise UnsupportedOpError(f"keeps its own state, {why}", where=f"op {op.index} ({op.kind})")


def check_attackable(manifest: Manifest) -> None:
    """Check that attacks know what to do with a model's outputs.

    Raises:
        BadInputError: the model has one output, whose two classes the attacks' losses and margins do not know.
    """
    if manifest.label_rule.kind == "threshold":
        raise BadInputError(
            "a network with one output is not attacked yet",
            where=manifest.name,
            fix="end it in two outputs, one for each class: for a logit z, the outputs 0 and z",
        )


def differing(ours: Outputs, theirs: Outputs) -> int:
    """Count the inputs on which two answers differ in a byte.

    For streams, the outputs after every frame are compared where both sides have them. Logits are compared where both
    sides have them; they are accumulators times the same scale, so that equal accumulators give equal logits.
    """
    framed = ours.frames is not None and theirs.frames is not None
    pair = (ours.answered, theirs.answered) if framed else (ours.scores, theirs.scores)
    different = (pair[0] != pair[1]).reshape(len(ours.scores), -1).any(axis=1)
    if ours.logits is not None and theirs.logits is not None:
        different |= (ours.logits != theirs.logits).any(axis=1)
    return int(different.sum())


def compared(outputs: Outputs) -> int:
    """Count the bytes of a device's answers: the scores, and the int32 accumulators if the device sends them.

    For streams, the scores of every frame count, and the accumulators of the last.
    """
    return outputs.answered.nbytes + (0 if outputs.logits is None else 4 * outputs.logits.size)
