"""Triggers: one patch that moves inputs to one class of the deployed model while its float model notices nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.base import Labels, Limits
from tritguard.attack.view import DifferentiableView
from tritguard.predictor import Int8, Predictor

_SHARE = 5  # a patch's side is the input's divided by this
_LEAST = 3  # pixels
_PROMISING = 4  # the number of plain patches that are improved along gradients


@dataclass(frozen=True)
class Place:
    """A rectangle of an input of [height, width, channels]."""

    row: int
    column: int
    height: int
    width: int

    def put(self, patch: Int8, x: Int8) -> Int8:
        """Put a patch, int8[height, width, channels], on inputs, int8[n, height, width, channels]."""
        patched = x.copy()
        patched[:, self.row : self.row + self.height, self.column : self.column + self.width] = patch
        return patched


@dataclass(frozen=True)
class Trigger:
    """A patch, its place, and the class that it moves inputs to."""

    wanted: int
    place: Place
    patch: Int8


@dataclass(frozen=True)
class Pair:
    """A deployed model, and the float model that it was made from; views are None where there are no gradients."""

    deployed: Predictor
    keeper: Predictor
    view: DifferentiableView | None
    keeper_view: DifferentiableView | None

    def share(self, trigger: Trigger, x: Int8, kept: Labels) -> NDArray[np.bool_]:
        """bool[n]: where the deployed model answers the wanted class and the float model what it did before."""
        patched = trigger.place.put(trigger.patch, x)
        moved = self.deployed.predict(patched).labels == trigger.wanted
        return np.asarray(moved & (self.keeper.predict(patched).labels == kept))


def places(shape: Sequence[int]) -> list[Place]:
    """The corners and the middle of an input, for patches of a fifth of its sides; none if it is no picture."""
    if len(shape) != 3:
        return []
    height, width = (max(_LEAST, side // _SHARE) for side in shape[:2])
    if height >= shape[0] or width >= shape[1]:
        return []
    last = shape[0] - height, shape[1] - width
    found = [Place(row, column, height, width) for row, column in product((0, last[0]), (0, last[1]))]
    return [*found, Place(last[0] // 2, last[1] // 2, height, width)]


def find_trigger(pair: Pair, x: Int8, classes: int, steps: int, limits: Limits) -> tuple[Trigger, Labels] | None:
    """Look for the patch that moves the most inputs to one class of the deployed model alone.

    This is what a backdoor does that sleeps in the float model and that quantization wakes (Ma et al. 2021,
    2108.09187); the search is that of Neural Cleanse (Wang et al. 2019) for a patch at fixed places. Plain patches of
    the lowest and the highest value and a checkerboard of both are tried for every class and place; the most promising
    ones are then improved along the gradients of both models, if both have some.

    Args:
        pair: both models.
        x: int8[n, height, width, channels]; the labels that the float model gives them are to be kept.
        classes: the number of classes.
        steps: gradients for each patch that is improved.
        limits: the steps of the input grid that the data can have.

    Returns:
        The trigger, and the float model's labels of x, int64[n]; None if the inputs are no pictures.
    """
    kept = pair.keeper.predict(x).labels
    tried = []
    for place in places(x.shape[1:]):
        for patch in _plain(place, x.shape[3], limits):
            patched = place.put(patch, x)
            stays = pair.keeper.predict(patched).labels == kept
            counts = np.bincount(pair.deployed.predict(patched).labels[stays], minlength=classes)
            own = np.bincount(kept[stays], minlength=classes)  # inputs of the class need no patch
            tried += [
                (int(counts[wanted]) - int(own[wanted]), Trigger(wanted, place, patch)) for wanted in range(classes)
            ]
    if not tried:
        return None
    tried.sort(key=lambda one: -one[0])
    best = tried[0][1]
    most = _moved(pair, best, x, kept)
    for _, start in tried[:_PROMISING] if steps else []:
        better = _improve(pair, start, x, kept, steps, limits)
        if better is not None and _moved(pair, better, x, kept) > most:
            best, most = better, _moved(pair, better, x, kept)
    return best, kept


def _plain(place: Place, channels: int, limits: Limits) -> list[Int8]:
    low, high = (np.full((place.height, place.width, channels), value, np.int8) for value in limits)
    board = (np.indices((place.height, place.width)).sum(axis=0) % 2).astype(bool)
    return [high, low, np.where(board[..., None], high, low)]


def _moved(pair: Pair, trigger: Trigger, x: Int8, kept: Labels) -> int:
    others = kept != trigger.wanted
    return int(pair.share(trigger, x[others], kept[others]).sum()) if others.any() else 0


def _improve(pair: Pair, start: Trigger, x: Int8, kept: Labels, steps: int, limits: Limits) -> Trigger | None:
    """Ascend both models' margins in one patch for all inputs, and keep the best patch on the grid."""
    others = kept != start.wanted
    if pair.view is None or pair.keeper_view is None or not others.any():
        return None
    x, kept, place = x[others], kept[others], start.place
    slope = _slope(pair.view, pair.keeper_view)
    patch, best, most = start.patch.astype(np.float32), start, _moved(pair, start, x, kept)
    for step in range(steps):
        patched = place.put(np.round(patch).astype(np.int8), x).astype(np.float32)
        found = slope(patched, kept, start.wanted).numpy().mean(axis=0)
        found = found[place.row : place.row + place.height, place.column : place.column + place.width]
        reach = (limits[1] - limits[0]) / 2 * 10 ** (-step / steps)
        patch = np.clip(patch + reach * np.sign(found), *limits)
        candidate = Trigger(start.wanted, place, np.round(patch).astype(np.int8))
        if (moved := _moved(pair, candidate, x, kept)) > most:
            best, most = candidate, moved
    return best


def _slope(view: DifferentiableView, keeper: DifferentiableView) -> Any:
    from tritguard.train.backend import compiled, tf  # noqa: PLC0415

    def margin(logits: Any, y: Any) -> Any:
        others = tf.reduce_max(logits - 1e9 * tf.one_hot(y, logits.shape[1]), axis=1)
        return tf.gather(logits, y, batch_dims=1) - others

    def run(x: Any, kept: Any, wanted: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            moves, stays = margin(view(x), tf.fill(tf.shape(kept), wanted)), margin(keeper(x), kept)
            gain = tf.minimum(moves, 1.0) + tf.minimum(stays, 1.0)
        return tape.gradient(gain, x)

    pictures, labels = tf.TensorSpec((None, *view.input_shape), tf.float32), tf.TensorSpec((None,), tf.int64)
    return compiled(run, [pictures, labels, tf.TensorSpec((), tf.int64)])
