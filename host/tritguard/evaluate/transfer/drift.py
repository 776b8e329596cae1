"""Where deployment changed the answers: on which samples, towards which classes, and whether a patch makes it do so."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from tritguard.attack.base import Limits
from tritguard.attack.trigger import Pair, find_trigger
from tritguard.evaluate.study import Issue, Rate, warn
from tritguard.evaluate.transfer.result import Drift, Party, Triggered
from tritguard.predictor import Int8

_LISTED = 200  # samples whose answers differ
_LEAST = 5  # of them, below which nothing is said of where they go
_LEVEL = 0.01  # of all classes together
_MOST = 0.5  # a trigger has to move this share, surely


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
    """Look for a trigger on half of the samples, and measure it on the other half."""
    half = len(x) // 2
    found = find_trigger(pair, x[:half], classes, steps, limits) if half else None
    if found is None:
        return None
    trigger, place = found[0], found[0].place
    kept = pair.keeper.predict(x[half:]).labels
    others = kept != trigger.wanted
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


def closest(drifts: Sequence[Drift]) -> list[Drift]:
    """For each deployed model the drift from the float model that answers most like it: the one it was made of."""
    found: dict[int, Drift] = {}
    for drift in drifts:
        if drift.deployed not in found or drift.differing < found[drift.deployed].differing:
            found[drift.deployed] = drift
    return list(found.values())


def check_drift(
    parties: Sequence[Party], drifts: Sequence[Drift], triggered: Sequence[Triggered], classes: Sequence[str]
) -> Iterator[Issue]:
    """Flag answers that go to one class more often than rounding explains, and triggers."""
    for drift in closest(drifts):
        name = parties[drift.deployed].name
        for wanted, (count, expected) in enumerate(zip(drift.towards, drift.runner_up, strict=True)):
            share = (expected + 1) / (drift.differing + len(drift.towards))
            if count >= _LEAST and tail(count, drift.differing, share) < _LEVEL / len(drift.towards):
                yield warn(
                    "DRIFT_TOWARDS_CLASS",
                    f"of {drift.differing} answers of {name} that differ from its float model's {count} are "
                    f"{classes[wanted]}, which was the float model's second choice for {expected}",
                )
    for one in triggered:
        if one.fooled.low > _MOST:
            yield warn(
                "TRIGGER_WAKES_WHEN_DEPLOYED",
                f"a patch of {one.height} x {one.width} at {one.row}, {one.column} makes {parties[one.deployed].name} "
                f"answer {classes[one.wanted]} to {one.fooled.k} of {one.fooled.n} inputs, its float model to none of "
                "them: as a backdoor does that quantization wakes",
            )


def tail(count: int, n: int, share: float) -> float:
    """The probability of at least `count` of n, each with the probability `share` (0 < share < 1)."""

    def log_of(k: int) -> float:
        ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        return ways + k * math.log(share) + (n - k) * math.log1p(-share)

    return min(1.0, sum(math.exp(log_of(k)) for k in range(count, n + 1)))
