"""Checks for what would make a study of bit flips misleading; each finding has a stable code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tritguard.evaluate.findings import few_samples
from tritguard.evaluate.study import Issue, invalid, warn

if TYPE_CHECKING:
    from tritguard.evaluate.faults.result import FaultedModel, FaultPlan, FaultPoint, Search

_FEW_DRAWS = 5


def check(models: Sequence[FaultedModel], plan: FaultPlan, classes: int) -> tuple[Issue, ...]:
    """Collect all findings; a sound study has none."""
    return (*_settings(plan), *(issue for model in models for issue in _model(model, plan, classes)))


def _settings(plan: FaultPlan) -> Iterator[Issue]:
    yield from few_samples(plan.samples)
    if plan.draws < _FEW_DRAWS:
        yield warn("FEW_DRAWS", f"{plan.draws} random draws say little about the spread between bits")


def _model(model: FaultedModel, plan: FaultPlan, classes: int) -> Iterator[Issue]:
    name = model.model.name
    if most := [flips for flips in plan.flips if flips > model.weight_bits]:
        asked = ", ".join(map(str, most))
        yield warn("FEWER_BITS", f"{name} has {model.weight_bits} bits of weights, so {asked} flips were left out")
    if model.clean.low <= 1 / classes:
        yield invalid("CLEAN_AT_CHANCE", f"without faults {name} cannot be told from guessing")
    if model.replay is None:
        yield warn("NO_DEVICE", f"{name}: no build was given, so no faulty image was booted")
    elif model.replay.mismatched_inputs:
        seen = model.replay
        yield invalid(
            "DEVICE_TWIN_MISMATCH",
            f"{name}: {seen.mismatched_inputs} of {seen.inputs} answers of faulty images differ from the faulty twin's",
        )
    if model.undefined:
        what = f"{name}: {model.undefined} draws depend on the device's memory and were left out; give the build"
        yield warn("UNDEFINED_FAULTS", what)
    points = {(point.search, point.flips): point for point in model.points}
    yield from _weak_search(name, points)


def _weak_search(name: str, points: dict[tuple[Search, int], FaultPoint]) -> Iterator[Issue]:
    for (search, flips), chosen in points.items():
        drawn = points.get(("random", flips))
        if search == "greedy" and drawn is not None and chosen.low > drawn.high:
            yield warn(
                "RANDOM_BEATS_SEARCH",
                f"{name}: {flips} random flips leave {drawn.mean:.1%}, as many chosen ones {chosen.mean:.1%}",
            )
