"""Checks for what would make a study of transfer misleading; each finding has a stable code."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tritguard.evaluate.findings import few_samples
from tritguard.evaluate.study import Issue, invalid, warn

if TYPE_CHECKING:
    from tritguard.evaluate.transfer.result import Cell, Drift, Party, TransferPlan, Triggered

GUESSING = "CLEAN_AT_CHANCE"

_LEAST = 5  # differing answers towards a class, below which nothing is said about it
_LEVEL = 0.01  # the significance level of the tests of all classes together
_MOST = 0.5  # share of inputs; a trigger is flagged if the interval of the share that it moves lies above this


def check(parties: Sequence[Party], cells: Sequence[Cell], plan: TransferPlan, classes: int) -> tuple[Issue, ...]:
    """Collect all findings; a sound study has none."""
    return (*_settings(parties, plan, classes), *_stronger_from_elsewhere(parties, cells))


def _settings(parties: Sequence[Party], plan: TransferPlan, classes: int) -> Iterator[Issue]:
    yield from few_samples(plan.samples)
    if all(party.form != "float" for party in parties):
        yield warn("NO_FLOAT", "no float model was given, so nothing shows what deployment changed")
    for party in parties:
        if party.clean.low <= 1 / classes:
            what = f"{party.name} ({party.form}) cannot be told from guessing: wrong data, or data in another unit"
            yield invalid(GUESSING, what)


def _stronger_from_elsewhere(parties: Sequence[Party], cells: Sequence[Cell]) -> Iterator[Issue]:
    """Compare attacks from elsewhere with those on the model itself; if they are stronger, gradients are masked."""
    own = {(cell.eps_steps, cell.target): cell.accuracy for cell in cells if cell.source == cell.target}
    for cell in cells:
        white = own.get((cell.eps_steps, cell.target))
        if white is not None and cell.accuracy.high < white.low:
            source, target = parties[cell.source], parties[cell.target]
            yield warn(
                "TRANSFER_BEATS_WHITE_BOX",
                f"at eps {cell.eps_steps} inputs crafted on {source.name} ({source.form}) leave {target.name} "
                f"({target.form}) {cell.accuracy.value:.1%}, its own gradients {white.value:.1%}",
            )


def closest(drifts: Sequence[Drift]) -> list[Drift]:
    """For each deployed model the drift from the float model that answers most like it: the one it was made from."""
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
        name, keeper = parties[drift.deployed].name, parties[drift.keeper].name
        for wanted, (count, expected) in enumerate(zip(drift.towards, drift.runner_up, strict=True)):
            share = (expected + 1) / (drift.differing + len(drift.towards))
            if count >= _LEAST and tail(count, drift.differing, share) < _LEVEL / len(drift.towards):
                yield warn(
                    "DRIFT_TOWARDS_CLASS",
                    f"of {drift.differing} answers of {name} that differ from those of {keeper} (float) {count} are "
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
