"""The report of a study of a deployment."""

from __future__ import annotations

import numpy as np

from tritguard.evaluate.deployment.result import DeploymentResult
from tritguard.evaluate.measurement import Latency
from tritguard.evaluate.study import Rate
from tritguard.report.study import Facts, Grid, Page, Section, SectionReport
from tritguard.report.wording import class_name, count, interval, line, megahertz, of, percent, real, timing

_WHOLE_TABLE = 20  # classes; with more, a table of all would be hard to read
_CONFUSED = 20


def content(result: DeploymentResult) -> Page:
    """Lay out what the report shows."""
    firmware = result.firmware
    board = f"{firmware.board_name} ({firmware.core}, {'emulated' if firmware.emulated else 'real'})"
    lead = f"{count(result.accuracy.n)} test samples of {result.provenance.data_name} on {board}."
    sections = (_accuracy(result), _confusion(result), _latency(result), *_energy(result), _bytes(result))
    models = ((result.model.name, result.model.model_sha256),)
    return Page(f"{result.model.name} on its device", lead, sections, models)


def _accuracy(result: DeploymentResult) -> Section:
    rows = [("all", of(result.accuracy), percent(result.accuracy.value), interval(result.accuracy))]
    for name, row, right in zip(_names(result), result.confusion, np.diag(result.confusion), strict=True):
        if sum(row):
            rate = Rate.of(int(right), sum(row))
            rows.append((name, of(rate), percent(rate.value), interval(rate)))
    note = "Of each class, the samples that the device took for it. Intervals: Wilson."
    return Section("Accuracy", "", None, Grid(("class", "correct", "accuracy", "95 %"), tuple(rows)), note)


def _names(result: DeploymentResult) -> list[str]:
    return [class_name(result.classes, label) for label in range(len(result.classes))]


def _confusion(result: DeploymentResult) -> Section:
    counts, names = np.array(result.confusion), _names(result)
    if len(counts) <= _WHOLE_TABLE:
        rows = tuple((name, *map(count, row)) for name, row in zip(names, counts.tolist(), strict=True))
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        heat = tuple((0.0, *row) for row in (shares - np.diag(np.diag(shares))).tolist())
        grid = Grid(("class", *names), rows, heat=heat)
        return Section("Confusion", "", None, grid, "Rows: the true class; columns: what the device said.")
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSED]
    pairs = [np.unravel_index(place, wrong.shape) for place in order]
    found = [
        (names[a], names[b], count(int(wrong[a, b])), percent(wrong[a, b] / counts[a].sum()))
        for a, b in pairs
        if wrong[a, b]
    ]
    columns = ("true class", "the device said", "samples", "of the class")
    return Section("The most frequent confusions", "", None, Grid(columns, tuple(found), left=2))


def _latency(result: DeploymentResult) -> Section:
    latency = result.latency
    spread = [latency.ticks_min, latency.ticks_median, latency.ticks_p99 or latency.ticks_max, latency.ticks_max]
    rows: list[tuple[str, ...]] = []
    if latency.instructions is not None:
        rows.append(("instructions, exact", *_scaled(latency.instructions, latency, spread)))
    if latency.cycles_estimated is not None:
        rows.append(("cycles, ESTIMATED", *_scaled(latency.cycles_estimated, latency, spread)))
        rows.append(("ms, ESTIMATED", *(real(latency.milliseconds_of(ticks)) for ticks in spread)))
    elif not result.firmware.emulated:
        rows.append(("ms, measured", *(real(latency.milliseconds_of(ticks)) for ticks in spread)))
        unit = "cycles, measured," if latency.cycles_measured is not None else "ticks"
        rows.append((f"{unit} of {megahertz(latency.tick_hz)}", *map(count, spread)))
    note = f"Over {count(latency.runs)} inferences; 99 % of them took no longer than p99."
    if latency.cycles_estimated is not None:
        note += f" Cycles by {latency.cycles_method}; milliseconds at {megahertz(latency.core_hz)}."
    elif result.firmware.emulated:
        note += " No time: an emulator's ticks are not time, and there is no estimate of cycles for this core."
    elif how := timing(latency):
        note += f" The median: {how}."
    columns = ("one inference", "min", "median", "p99", "max")
    return Section("Latency", "", None, Grid(columns, tuple(rows)), note)


def _energy(result: DeploymentResult) -> tuple[Section, ...]:
    """The energy of an inference; no section where no log was read."""
    found = result.energy
    if found is None:
        return ()
    figures = [("all that the board takes, uJ", 1e6, found.joules)]
    if found.joules_above_idle is not None:
        figures.append(("above what it takes between inferences, uJ", 1e6, found.joules_above_idle))
    figures.append(("how long it lasts by its marks, ms", 1e3, found.seconds))
    rows = tuple(
        (name, *(real(factor * value) for value in (each.mean, each.deviation, each.least, each.median, each.most)))
        for name, factor, each in figures
    )
    note = (
        f"Measured: {found.log}, {found.format}, {count(round(found.samples_hz))} samples a second, cut by "
        f"{found.marks} into {count(found.inferences)} inferences; {real(found.volts)} V, "
        f"{'logged' if found.volts_measured else 'as given'}."
    )
    columns = ("one inference", "mean", "deviation", "min", "median", "max")
    return (Section("Energy", "", None, Grid(columns, rows), note),)


def _scaled(median: int, latency: Latency, spread: list[int]) -> list[str]:
    """Turn ticks into what they are proportional to, given its value for the median."""
    return [count(round(latency.in_proportion(median, ticks))) for ticks in spread]


def _bytes(result: DeploymentResult) -> Section:
    seen, oracle = result.confirmation, result.oracle
    rows: list[tuple[str, ...]] = []
    rows.append(("the twin", count(seen.inputs), count(seen.bytes_compared), count(seen.mismatched_inputs)))
    if oracle is None:
        rows.append(("the oracle", "not asked", "", ""))
    else:
        rows.append(("the oracle", *map(count, (oracle.inputs, oracle.bytes_compared, oracle.mismatched_inputs))))
    note = "The twin's scores and int32 logits; of the oracle, TensorFlow Lite Micro's interpreter, the scores."
    if seen.bulk_inputs:
        note += f" Line: {line(seen)}."
    grid = Grid(("compared with", "inputs", "bytes", "inputs that differ"), tuple(rows))
    return Section("The device's bytes", "", None, grid, note)


def facts(result: DeploymentResult) -> Facts:
    """Say what was found, in a sentence each."""
    seen, oracle, rate = result.confirmation, result.oracle, result.accuracy
    bytes_ = f"{count(seen.mismatched_inputs)} of {count(seen.inputs)} inputs gave other bytes than on the twin"
    if oracle is not None:
        bytes_ += f", {count(oracle.mismatched_inputs)} of {count(oracle.inputs)} other scores than in the oracle"
    found = {
        "accuracy": f"accuracy on the device {percent(rate.value)} ({of(rate)}; 95 % {interval(rate)})",
        "bytes": bytes_,
    }
    if result.energy is not None:
        found["energy"] = f"{real(1e6 * result.energy.joules.mean)} uJ an inference, measured"
    return found


REPORT = SectionReport(content, facts)
