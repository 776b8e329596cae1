"""Results side by side: what got better or worse, paired by sample, with what it costs in flash, RAM and time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Literal

import numpy as np
from pydantic import Field

from tritguard.errors import BadInputError
from tritguard.evaluate.robustness.result import RobustnessResult
from tritguard.evaluate.robustness.significance import LEVEL, mcnemar
from tritguard.evaluate.robustness.table import Figures, count
from tritguard.evaluate.study import Rate, Status
from tritguard.records import Record
from tritguard.report import summary
from tritguard.report.evidence.samples import table_of

Verdict = Literal["better", "worse", "no difference shown", "attacked otherwise"]

_SAME_BOUND = 1e-6


class Compared(Record):
    """One of the results.

    Attributes:
        name: what the comparison calls it: the model, and where several results are of one model, the part of the path
            that tells their files apart.
        file: the whole path.
        attacked_alike: whether it was attacked as the first result was, by the same attacks with the same budgets.
        robust: the worst case at the largest bound that all results which are not invalid share; None if there is none,
            or if this one is invalid.
        paired: the same on the samples that all results have, by which the front is found.
        eps_input: that bound in input units.
        ram: static memory and the stack's peak.
        milliseconds: the time of one inference, measured or estimated as the result says; None if it has neither.
    """

    name: str
    file: str
    status: Status
    codes: tuple[str, ...]
    model_sha256: str
    board: str
    emulated: bool
    attacked_alike: bool
    clean: Rate | None
    robust: Rate | None
    paired: Rate | None
    eps_input: float | None
    flash: int
    ram: int
    instructions: int | None
    milliseconds: float | None


class Pair(Record):
    """One result against the first, on the samples that both have, at one bound.

    Attributes:
        other: the position of the result in `results`.
        eps_input: the bound in input units; 0: clean inputs.
        first: what holds in the first result.
        second: what holds in the other.
        gained: how many samples hold in the other alone.
        lost: how many hold in the first alone.
        p: McNemar's exact test, two-sided: how probable so uneven a split is by chance.
        verdict: whether the other one is better, at a level of 5 % that all pairs share (Bonferroni). Under attacks,
            results that were attacked otherwise are not judged: the one with weaker attacks would look better.
    """

    other: int
    eps_input: float
    first: Rate
    second: Rate
    gained: int
    lost: int
    p: float
    verdict: Verdict


class Comparison(Record):
    """Robustness results on the same data side by side; the first one is what the others are compared with.

    Attributes:
        samples: how many samples all of them have.
        pairs: the others against the first; an invalid result has none.
        front: positions of the results that no other one beats in robust accuracy, flash and RAM together, among those
            that were attacked as the first was.
    """

    schema_version: Literal[1] = 1
    kind: Literal["comparison"] = "comparison"
    data_name: str
    data_sha256: str
    norm: str
    samples: int
    results: tuple[Compared, ...] = Field(min_length=2)
    pairs: tuple[Pair, ...]
    front: tuple[int, ...]


def compare(results: Sequence[tuple[str, RobustnessResult]]) -> Comparison:
    """Compare results, each with its file's name.

    Raises:
        BadInputError: there are fewer than two, or they are of other data, labels, threat models or samples than the
            first.
    """
    if len(results) < 2:
        raise BadInputError("one result alone cannot be compared", fix="give two or more")
    first = results[0][1]
    for file, result in results:
        _check_comparable(file, result, first)
    shared = set.intersection(*(set(result.provenance.sample_indices) for _, result in results))
    if not shared:
        fix = "evaluate with the same seed, or with more samples"
        raise BadInputError("have no sample in common", where=results[1][0], fix=fix)
    for file, result in results:
        _check_labels(file, result, first)
    eps = _shared_bound([result for _, result in results])
    compared = tuple(
        _compared(name, file, result, eps, sorted(shared), alike=_attacks(result) == _attacks(first))
        for name, (file, result) in zip(_names(results), results, strict=True)
    )
    return Comparison(
        data_name=first.provenance.data_name,
        data_sha256=first.provenance.data_sha256,
        norm=first.threat_model.norm,
        samples=len(shared),
        results=compared,
        pairs=tuple(_judged(list(_pairs([result for _, result in results], sorted(shared))), compared)),
        front=_front(compared),
    )


def _check_comparable(file: str, result: RobustnessResult, first: RobustnessResult) -> None:
    table_of(result)
    for what, ours, theirs in (  # two grids may give a data range other steps, but it must hold the same samples
        ("data", result.provenance.data_sha256, first.provenance.data_sha256),
        ("norm", result.threat_model.norm, first.threat_model.norm),
        ("goal", result.threat_model.goal, first.threat_model.goal),
        ("input unit", result.threat_model.input_unit, first.threat_model.input_unit),
        ("space", result.threat_model.space, first.threat_model.space),
        ("data range", _range(result), _range(first)),
    ):
        if ours != theirs:
            fix = "compare results that were attacked alike"
            raise BadInputError(f"is of another {what} than the first: {ours}, not {theirs}", where=file, fix=fix)


def _range(result: RobustnessResult) -> str:
    found = result.threat_model.data_range
    return "none" if found is None else f"{found.low:g} to {found.high:g}"


def _check_labels(file: str, result: RobustnessResult, first: RobustnessResult) -> None:
    ours, theirs = (
        dict(zip(one.provenance.sample_indices, table_of(one).labels, strict=True)) for one in (result, first)
    )
    if odd := [index for index in ours.keys() & theirs.keys() if ours[index] != theirs[index]]:
        index = min(odd)
        what = f"has another label than the first for sample {index}: {ours[index]}, not {theirs[index]}"
        raise BadInputError(what, where=file, fix="compare results of the same data")


def _attacks(result: RobustnessResult) -> tuple[object, ...]:
    """What a result was attacked with: the plan's budgets, and the attacks that ran."""
    return result.budgets, {row.attack for row in result.attacks}


def _shared_bound(results: Sequence[RobustnessResult]) -> float | None:
    """The largest bound, in input units, that is in the threat model of every result which may be quoted."""
    quotable = [result for result in results if result.status != "invalid"]
    if not quotable:
        return None
    first, *others = quotable
    shared = [eps for eps in first.threat_model.eps_input if all(_steps_at(other, eps) is not None for other in others)]
    return max(shared, default=None)


def _steps_at(result: RobustnessResult, eps: float) -> int | None:
    """The int8 steps of a bound in input units; None if the threat model has no such bound."""
    threat = result.threat_model
    pairs = zip(threat.eps_steps, threat.eps_input, strict=True)
    return next((steps for steps, theirs in pairs if abs(theirs - eps) <= _SAME_BOUND * eps), None)


def _names(results: Sequence[tuple[str, RobustnessResult]]) -> list[str]:
    models = [result.provenance.model_name for _, result in results]
    files = _short([file for file, _ in results])
    return [
        name if models.count(name) == 1 else f"{name} ({file})"
        for name, file in zip(models, files, strict=True)
    ]  # fmt: skip


def _short(files: Sequence[str]) -> Sequence[str]:
    """Leave off the folders that all paths begin with and the names that all end with, if that tells them apart."""
    paths = [PurePath(file).parts for file in files]
    begin = _alike(paths)
    end = _alike([path[begin:][::-1] for path in paths])
    short = ["/".join(path[begin : len(path) - end]) for path in paths]
    return short if all(short) and len(set(short)) == len(short) else files


def _alike(rows: Sequence[Sequence[str]]) -> int:
    """How many items all rows have in common at their beginning."""
    shortest = min(map(len, rows))
    return next((place for place in range(shortest) if len({row[place] for row in rows}) > 1), shortest)


def _compared(
    name: str, file: str, result: RobustnessResult, eps: float | None, shared: Sequence[int], *, alike: bool
) -> Compared:
    steps = None if eps is None else _steps_at(result, eps)
    point = next((point for point in summary.robust_points(result) if point.eps_steps == steps), None)
    paired = None
    if point is not None:
        held = _held(result, count(table_of(result)), point.eps_steps, shared)
        paired = Rate.of(int(held.sum()), len(shared))
    latency, footprint = result.latency, result.footprint
    timed = latency.cycles_estimated is not None or not result.firmware.emulated
    return Compared(
        name=name,
        file=file,
        status=result.status,
        codes=tuple(issue.code for issue in result.issues),
        model_sha256=result.provenance.model_sha256,
        board=result.firmware.board_name,
        emulated=result.firmware.emulated,
        attacked_alike=alike,
        clean=None if result.status == "invalid" else result.clean,
        robust=None if point is None else point.robust,
        paired=paired,
        eps_input=None if point is None else point.eps_input,
        flash=footprint.flash_total,
        ram=footprint.ram_static + footprint.stack_peak,
        instructions=latency.instructions,
        milliseconds=latency.milliseconds if timed else None,
    )


def _pairs(results: Sequence[RobustnessResult], shared: Sequence[int]) -> Iterator[Pair]:
    """Pair every result with the first one by sample, at each bound that both have, without a verdict yet."""
    figures = [count(table_of(result)) for result in results]
    first = results[0]
    for other, result in enumerate(results[1:], start=1):
        if "invalid" in (first.status, result.status):
            continue
        for eps, (ours, theirs) in _bounds(first, result).items():
            before = _held(first, figures[0], ours, shared)
            after = _held(result, figures[other], theirs, shared)
            gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
            yield Pair(
                other=other,
                eps_input=eps,
                first=Rate.of(int(before.sum()), len(shared)),
                second=Rate.of(int(after.sum()), len(shared)),
                gained=gained,
                lost=lost,
                p=min(1.0, 2 * mcnemar(max(gained, lost), min(gained, lost))),
                verdict="no difference shown",
            )


def _bounds(first: RobustnessResult, other: RobustnessResult) -> dict[float, tuple[int, int]]:
    """The bounds that two threat models share, in input units, each with its steps on both grids; and 0."""
    found = {0.0: (0, 0)}
    threat = first.threat_model
    for steps, eps in zip(threat.eps_steps, threat.eps_input, strict=True):
        if (theirs := _steps_at(other, eps)) is not None:
            found[eps] = (steps, theirs)
    return found


def _held(
    result: RobustnessResult, figures: Figures, eps: int, shared: Sequence[int]
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """bool[n]: which of the shared samples hold up to a bound."""
    places = {index: place for place, index in enumerate(result.provenance.sample_indices)}
    return np.array([figures.first[places[index]] > eps for index in shared])


def _judged(pairs: list[Pair], results: Sequence[Compared]) -> Iterator[Pair]:
    for pair in pairs:
        verdict: Verdict = "no difference shown"
        if pair.eps_input > 0 and not results[pair.other].attacked_alike:
            verdict = "attacked otherwise"
        elif pair.p <= LEVEL / len(pairs):
            verdict = "better" if pair.gained > pair.lost else "worse"
        yield pair.model_copy(update={"verdict": verdict})


def _front(results: Sequence[Compared]) -> tuple[int, ...]:
    """Find the results that no other one dominates: better in robust accuracy, flash or RAM, and worse in none."""

    def beaten(place: int) -> bool:
        return any(
            _costs(other) != _costs(results[place])
            and all(theirs <= ours for theirs, ours in zip(_costs(other), _costs(results[place]), strict=True))
            for other in results
            if _ranked(other)
        )

    return tuple(place for place, one in enumerate(results) if _ranked(one) and not beaten(place))


def _ranked(one: Compared) -> bool:
    return one.robust is not None and one.attacked_alike


def _costs(one: Compared) -> tuple[float, int, int]:
    return -(one.paired.value if one.paired else 0.0), one.flash, one.ram
