"""The report of a study of bit flips."""

from __future__ import annotations

from collections.abc import Sequence

from tritguard.evaluate.faults.result import FaultDraw, FaultedModel, FaultPoint, FaultResult, Search
from tritguard.evaluate.study import Rate
from tritguard.report.lines import Axis, Chart, Point, chart
from tritguard.report.study import Facts, Grid, Page, Section, SectionReport
from tritguard.report.wording import count, percent

_NAMES: dict[Search, str] = {"random": "random", "greedy": "chosen"}


def content(result: FaultResult) -> Page:
    """Lay out what the report shows."""
    names = ", ".join(model.model.name for model in result.models)
    lead = (
        f"{result.plan.samples} samples of {result.provenance.data_name}. Bits of the weights were flipped as they lie "
        "in flash, in their packed formats, before the firmware boots; nothing was written over the wire. Figures are "
        "of our native firmware unless they say TFLM."
    )
    how = (
        "Random: every bit of the weights is equally likely; bands are 95 % intervals over the draws. Chosen: "
        "progressive bit search (Rakin et al. 2019), one bit in each round by the gradient of the loss; bands are "
        "Wilson intervals, of estimates from fewer samples too. TFLM: flips of the same weights in the .tflite, in "
        "TensorFlow Lite Micro's interpreter. Our firmware folds the input's zero point into sums of weights when it "
        "is built, which a flip does not change."
    )
    sections = [Section("Accuracy against flipped bits", how, _chart(result), _grid(result.models))]
    sections += [_weights(model) for model in result.models]
    models = [(model.model.name, model.model.model_sha256) for model in result.models]
    return Page(f"Bit flips in {names}", lead, sections, models)


def _chart(result: FaultResult) -> Chart:
    last = max((point.flips for model in result.models for point in (*model.points, *model.tflm)), default=1)
    ticks = tuple(float(1 << power) for power in range(last.bit_length()))
    series = [
        (f"{model.model.name}, {name}", [_point(point) for point in chosen])
        for model in result.models
        for search in _NAMES
        for name, points in ((_NAMES[search], model.points), (f"{_NAMES[search]}, TFLM", model.tflm))
        if (chosen := [point for point in points if point.search == search])
    ]
    chance = 1 / result.classes
    return chart(
        "Accuracy against the number of flipped bits",
        series,
        Axis("flipped bits", 1, max(2, last), ticks, logarithmic=True),
        Axis("accuracy, %", 0, 1, (0, 0.25, 0.5, 0.75, 1), percent=True),
        guide=("guessing", ((1, chance), (max(2, last), chance))),
    )


def _point(point: FaultPoint) -> Point:
    return Point(point.flips, point.mean, point.low, point.high)


def _grid(models: Sequence[FaultedModel]) -> Grid:
    rows = []
    for model in models:
        name = model.model.name
        rows.append((name, "none", "0", "0", percent(model.clean.value), _range(model.clean), "", ""))
        named = [(_NAMES[point.search], point) for point in model.points]
        for kind, point in [*named, *((f"{_NAMES[point.search]}, TFLM", point) for point in model.tflm)]:
            values = [draw.value for draw in point.draws]
            crashed = sum(draw.crashed for draw in point.draws)
            rows.append(
                (
                    name,
                    kind,
                    count(point.flips),
                    f"{1e6 * point.flips / model.weight_bits:,.1f}",
                    percent(point.mean),
                    _range(point),
                    percent(min(values)) if len(values) > 1 else "",
                    count(crashed) if crashed else "",
                )
            )
    columns = ("model", "flips", "bits", "ppm", "accuracy", "95 % interval", "worst draw", "crashed")
    return Grid(columns, tuple(rows), left=2)


def _range(of: Rate | FaultPoint) -> str:
    return f"{100 * of.low:.1f} - {100 * of.high:.1f}"


def _weights(model: FaultedModel) -> Section:
    identity, replay = model.model, model.replay
    formats = ", ".join(f"{count(size)} B {name}" for name, size in model.formats.items())
    text = f"{count(model.weight_bits)} bits of weights: {formats}."
    if replay is not None:
        text += (
            f" {replay.images} images of firmware {replay.build_id[:12]} booted on {replay.board}, their "
            f"{count(replay.weight_bytes)} bytes of weights equal to the twin's. Of {count(replay.inputs)} answers "
            f"({count(replay.bytes_compared)} bytes), {count(replay.mismatched_inputs)} differ from the twin's."
        )
    text += _astray([draw for point in model.points for draw in point.draws])
    rows = tuple(
        (str(place), str(each.layer), each.symbol, f"0x{each.byte:x}", str(each.bit))
        for place, each in enumerate(model.chosen, start=1)
    )
    chosen = Grid(("round", "layer", "array", "byte", "bit"), rows, left=3) if rows else None
    return Section(f"{identity.name}: what was flipped", grid=chosen, note=text)


def _astray(draws: Sequence[FaultDraw]) -> str:
    """Say what to know about draws that only the device could run."""
    astray = [draw for draw in draws if draw.ran_on == "device"]
    if not astray:
        return ""
    text = f" {len(astray)} of {len(draws)} draws depend on the device's memory (docs/faults.md) and were run there"
    few = [draw.accuracy.n for draw in astray if draw.estimate is not None]
    if not few:
        return f"{text} alone."
    return (
        f"{text} alone, on {max(few)} samples each. The shares that are right with flips, among samples that are right "
        "and among those that are wrong without them, were weighted by the shares of both among all samples."
    )


def facts(result: FaultResult) -> Facts:
    """Say what was found with the most flips of each search, of each model."""
    found: dict[str, list[str]] = {}
    for model in result.models:
        for search, name in _NAMES.items():
            points = [point for point in model.points if point.search == search]
            if points:
                most = max(points, key=lambda point: point.flips)
                left = f"{percent(most.mean)} with {count(most.flips)} {name} bits flipped ({_range(most)} %)"
                found.setdefault(search, []).append(f"{model.model.name}: {percent(model.clean.value)} without, {left}")
    return {search: "; ".join(texts) for search, texts in found.items()}


REPORT = SectionReport(content, facts)
