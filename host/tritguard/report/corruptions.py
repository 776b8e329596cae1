"""The report of a study of common corruptions."""

from __future__ import annotations

import numpy as np

from tritguard.attack.corruptions import ALL
from tritguard.evaluate.corruptions.result import Corrupted, CorruptionsResult
from tritguard.evaluate.study import Rate
from tritguard.report.lines import Axis, Chart, Point, chart
from tritguard.report.pictures import draw_pair
from tritguard.report.study import Facts, Figure, Grid, Page, Section, SectionReport
from tritguard.report.wording import class_name, count, data_range, interval, line, of, percent, real

_READING = (
    "Nobody aims these changes: they are drawn at random, they are far larger than the bounds of attacks, and none of "
    "them counts in robust accuracy. Kinds and levels are those of CIFAR-10-C (Hendrycks and Dietterich 2019), where "
    "docs/corruptions.md does not say otherwise."
)


def content(result: CorruptionsResult) -> Page:
    """Lay out what the report shows."""
    firmware = result.firmware
    board = f"{firmware.board_name} ({firmware.core}, {'emulated' if firmware.emulated else 'real'})"
    lead = f"{count(len(result.labels))} test samples of {result.provenance.data_name}, corrupted, on {board}."
    sections = (
        Section("Accuracy by severity", _READING, _chart(result), _severities(result), _range(result)),
        _levels(result),
        _each(result),
        Section("What the device was given", "", figures=tuple(_figures(result))),
        _bytes(result),
    )
    models = ((result.model.name, result.model.model_sha256),)
    return Page(f"{result.model.name} under common corruptions", lead, sections, models)


def _range(result: CorruptionsResult) -> str:
    return "" if result.data_range is None else data_range(result.data_range)


def _kinds(result: CorruptionsResult) -> dict[str, list[Corrupted]]:
    kinds: dict[str, list[Corrupted]] = {}
    for point in result.points:
        kinds.setdefault(point.corruption, []).append(point)
    return kinds


def _chart(result: CorruptionsResult) -> Chart:
    def drawn(severity: int, rate: Rate) -> Point:  # without intervals, which would lie over each other
        return Point(severity, rate.value, rate.value, rate.value)

    clean = drawn(0, result.clean)
    series = [
        (name, [clean, *(drawn(point.severity, point.accuracy) for point in points)])
        for name, points in _kinds(result).items()
    ]
    last = result.plan.severities[-1]
    chance = 1 / len(result.classes)
    return chart(
        "Accuracy against the severity of corruptions",
        series,
        Axis("severity; 0: as it is", 0, last, tuple(float(severity) for severity in (0, *result.plan.severities))),
        Axis("accuracy, %", 0, 1, (0, 0.25, 0.5, 0.75, 1), percent=True),
        guide=("guessing", ((0, chance), (last, chance))),
    )


def _severities(result: CorruptionsResult) -> Grid:
    rows = [("as it is", *[percent(result.clean.value)] * len(result.plan.severities), percent(result.clean.value))]
    for name, points in _kinds(result).items():
        values = [point.accuracy.value for point in points]
        rows.append((name, *map(percent, values), percent(float(np.mean(values)))))
    means = [
        float(np.mean([point.accuracy.value for point in result.points if point.severity == severity]))
        for severity in result.plan.severities
    ]
    rows.append(("mean", *map(percent, means), percent(float(np.mean(means)))))
    return Grid(("severity", *map(str, result.plan.severities), "mean"), tuple(rows))


def _levels(result: CorruptionsResult) -> Section:
    rows = [
        (name, ALL[name].meaning if name in ALL else "", ", ".join(real(one.level) for one in points))
        for name, points in _kinds(result).items()
    ]
    return Section("What the severities are", grid=Grid(("corruption", "what changes", "levels"), tuple(rows), left=3))


def _each(result: CorruptionsResult) -> Section:
    rows = [
        (
            point.corruption,
            str(point.severity),
            of(point.accuracy),
            interval(point.accuracy),
            count(point.change),
        )
        for point in result.points
    ]
    columns = ("corruption", "severity", "correct", "95 %", "change")
    note = "Change: the largest of any value of an input, in int8 steps, at the median of samples. Intervals: Wilson."
    return Section("Each corruption", grid=Grid(columns, tuple(rows)), note=note)


def _figures(result: CorruptionsResult) -> list[Figure]:
    figures: list[Figure] = []
    for place, example in enumerate(result.examples):
        where = f"examples[{place}]"
        drawing = draw_pair(example.clean_base64, example.corrupted_base64, example.shape, where)
        at = result.provenance.sample_indices.index(example.sample)
        size = drawing.width, drawing.height
        if not figures:
            said = class_name(result.classes, result.answers[at])
            figures.append(Figure(drawing.clean, *size, f"Sample {example.sample} as it is", f"as it is: {said}"))
        point = next(p for p in _kinds(result)[example.corruption] if p.severity == example.severity)
        said = class_name(result.classes, point.answers[at])
        what = f"{example.corruption}, severity {example.severity}"
        figures.append(Figure(drawing.adversarial, *size, f"Sample {example.sample} with {what}", f"{what}: {said}"))
    return figures


def _bytes(result: CorruptionsResult) -> Section:
    seen = result.confirmation
    row = (count(seen.inputs), count(seen.bytes_compared), count(seen.mismatched_inputs))
    note = f"Every input, as it is and corrupted; scores and int32 logits. Line: {line(seen)}."
    grid = Grid(("inputs on the device", "bytes compared with the twin's", "inputs that differ"), (row,), left=0)
    return Section("The device's bytes", "", None, grid, note if seen.bulk_inputs else "")


def facts(result: CorruptionsResult) -> Facts:
    """Say what was found, in a sentence each."""
    mean = float(np.mean([point.accuracy.value for point in result.points]))
    worst = min(result.points, key=lambda point: point.accuracy.value)
    return {
        "mean": f"accuracy {percent(mean)} on the mean of {len(_kinds(result))} common corruptions at severities "
        f"{result.plan.severities[0]} to {result.plan.severities[-1]}, {percent(result.clean.value)} without",
        "lowest": f"the lowest, {percent(worst.accuracy.value)} ({interval(worst.accuracy)}), under {worst.corruption} "
        f"at severity {worst.severity}",
    }


REPORT = SectionReport(content, facts)
