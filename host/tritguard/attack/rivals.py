"""Which outputs a class has to be told apart from, where a network has several outputs for some of its classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tritguard.graph.arithmetic.fixed_point import INT8_MAX, INT8_MIN
from tritguard.predictor import Int8, Outputs, Predictor

Labels = NDArray[np.int64]
Rivals = NDArray[np.bool_]  # [classes, classes]; row y: the outputs that class y is compared with, never y itself

_DRAWN = 64  # random inputs, and as many halfway between two samples
_AROUND = 16  # samples around which outputs are watched
_MOVES = 8  # random moves of each of them
_REACH = 16  # int8 steps of such a move
_TOGETHER = 0.05  # two outputs are one if their difference moves by less than this share of the outputs themselves


def find_rivals(predictor: Predictor, x: Int8, y: Labels) -> Rivals | None:
    """Find the pairs of outputs whose difference leads an attack anywhere.

    The margin to a copy of an output is the same everywhere, so a loss that compares the true class with its own copy
    hides all the others. An output is no rival of a class if it never came before that class, on samples, on mixtures
    of them and on random inputs, or if both move together, up to 5 %, around the samples. Classes that the network
    answers correctly are always rivals of each other: no copy of an output is a right answer, and outputs that all move
    by the same large amount look alike without being copies. Whether an input fools the network is decided by its label
    alone, so a copy that does win counts all the same.

    Args:
        predictor: the deployed model, all of whose outputs are looked at, whatever an attack is shown.
        x: int8[n, *input_shape], samples of as many classes as possible.
        y: int64[n], their labels.

    Returns:
        The rivals of each class; None if all outputs are rivals of each other, as they are in most networks.
    """
    rng = np.random.default_rng(0)
    shape = x.shape[1:]
    one, other = (rng.choice(len(x), _DRAWN) for _ in range(2))
    mixed = ((x[one].astype(np.int16) + x[other]) // 2).astype(np.int8)
    drawn = rng.integers(INT8_MIN, INT8_MAX + 1, (_DRAWN, *shape), dtype=np.int8)
    seen = predictor.predict(np.concatenate([x, mixed, drawn]))
    centres = x[rng.choice(len(x), _AROUND)].astype(np.int16)[:, None]
    around = centres + rng.choice([-_REACH, _REACH], (_AROUND, _MOVES, *shape))
    moved = predictor.predict(np.clip(around, INT8_MIN, INT8_MAX).astype(np.int8).reshape(-1, *shape))
    rivals = _ahead(seen) & ~_alike(_values(moved).reshape(_AROUND, _MOVES, -1))
    right = np.unique(y[seen.labels[: len(x)] == y])
    rivals[np.ix_(right, right)] = True
    np.fill_diagonal(rivals, False)
    others = ~np.eye(len(rivals), dtype=bool)
    alone = ~rivals.any(axis=1)
    rivals[alone] = others[alone]
    return None if np.array_equal(rivals, others) else rivals


def allowed(rivals: Rivals | None, labels: NDArray[np.int64], classes: int) -> NDArray[np.bool_]:
    """bool[n, classes]: for samples of these labels, the label's own output and those of its rivals."""
    if rivals is None:
        return np.ones((len(labels), classes), bool)
    return np.asarray((rivals | np.eye(classes, dtype=bool))[labels])


def told_apart(values: NDArray[np.floating], labels: NDArray[np.int64], rivals: Rivals | None) -> NDArray[np.floating]:
    """Outputs, [n, classes], in which those that are no rivals of these labels are as low as the lowest one."""
    if rivals is None:
        return values
    lowest = values.min(axis=1, keepdims=True)
    return np.where(allowed(rivals, labels, values.shape[1]), values, lowest)


def _values(outputs: Outputs) -> NDArray[np.float64]:
    return outputs.scores.astype(np.float64) if outputs.logits is None else outputs.logits


def _ahead(outputs: Outputs) -> Rivals:
    """Where the column's output comes before the row's for some input; of equal outputs the first comes before."""
    classes = outputs.scores.shape[1]
    first = np.tri(classes, k=-1, dtype=bool)
    ahead = np.zeros((classes, classes), bool)
    for values in (outputs.scores, _values(outputs)):
        for label in range(classes):
            own = values[:, label, None]
            ahead[label] |= ((values > own) | (values == own) & first[label]).any(axis=0)
    return ahead


def _alike(values: NDArray[np.float64]) -> Rivals:
    """The pairs of outputs that move together, from their values, float64[samples, moves, classes]."""
    moves = values - values.mean(axis=1, keepdims=True)
    each = (moves**2).sum(axis=(0, 1))
    both = np.stack([((moves - moves[..., [label]]) ** 2).sum(axis=(0, 1)) for label in range(len(each))])
    return np.asarray(both < _TOGETHER**2 * np.maximum(each, each[:, None]))
