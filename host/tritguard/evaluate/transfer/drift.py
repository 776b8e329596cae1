"""Where deployment changed the answers: on which samples, towards which classes, and whether a patch makes it do so."""

from __future__ import annotations

import numpy as np

from tritguard.attack.base import Limits
from tritguard.attack.trigger import Pair, find_trigger
from tritguard.evaluate.study import Rate
from tritguard.evaluate.transfer.result import Drift, Triggered
from tritguard.predictor import Int8

_LISTED = 200  # the most samples with differing answers that are listed


def find_drift(pair: Pair, deployed: int, keeper: int, x: Int8, classes: int) -> Drift:
    """Compare both models' answers to samples, int8[n, *input_shape].

    Args:
        pair: the models.
        deployed: the deployed model's position among the parties.
        keeper: the float model's.
        x: the samples, a test set's first ones.
        classes: how many classes there are.
    """
    theirs, floats = pair.deployed.predict(x).labels, pair.keeper.predict(x)
    differing = np.flatnonzero(theirs != floats.labels)
    logits = np.asarray(floats.logits, np.float64)[differing]
    second = logits.argsort(axis=1)[:, -2] if len(differing) else np.zeros(0, np.int64)
    return Drift(
        deployed=deployed,
        keeper=keeper,
        samples=len(x),
        differing=len(differing),
        indices=tuple(differing[:_LISTED].tolist()),
        towards=tuple(np.bincount(theirs[differing], minlength=classes)[:classes].tolist()),
        runner_up=tuple(np.bincount(second, minlength=classes)[:classes].tolist()),
    )


def find_triggered(pair: Pair, drift: Drift, x: Int8, classes: int, steps: int, limits: Limits) -> Triggered | None:
    """Look for a trigger on half of the samples; measure it on those of the rest that neither model gives its class."""
    half = len(x) // 2
    found = find_trigger(pair, x[:half], classes, steps, limits) if half else None
    if found is None:
        return None
    trigger, place = found[0], found[0].place
    kept = pair.keeper.predict(x[half:]).labels
    others = (kept != trigger.wanted) & (pair.deployed.predict(x[half:]).labels != trigger.wanted)
    if not others.any():
        return None
    moved = pair.share(trigger, x[half:][others], kept[others])
    return Triggered(
        deployed=drift.deployed,
        keeper=drift.keeper,
        wanted=trigger.wanted,
        row=place.row,
        column=place.column,
        height=place.height,
        width=place.width,
        fooled=Rate.of(int(moved.sum()), len(moved)),
    )
