"""The report of a study of proofs."""

from __future__ import annotations

from tritguard.certify.bracket import LEVELS
from tritguard.evaluate.certify.result import CertifyPoint, CertifyResult
from tritguard.report.lines import Axis, Chart, Point, chart
from tritguard.report.study import Facts, Grid, Page, Section, SectionReport
from tritguard.report.wording import count, data_range, interval, norm_meaning, of, percent, real, steps


def content(result: CertifyResult) -> Page:
    """Lay out what the report shows."""
    plan, last = result.plan, result.points[-1]
    best = "best attack" if last.attacked is not None else "inputs that were found"
    lead = (
        f"At eps {steps(last.eps_steps)} robust accuracy is between {percent(last.proved.value)} (proved) and "
        f"{percent(last.unbroken.value)} ({best}), on {count(last.proved.n)} samples of "
        f"{result.provenance.data_name}. A sample is proved if the deployed integers give its label for every input of "
        f"its {plan.norm} ball ({norm_meaning(plan.norm)}). {data_range(result.data_range)}"
    )
    sections = [_bracket(result), _levels(result), _device(result)]
    models = ((result.model.name, result.model.model_sha256),)
    return Page(f"What is proved of {result.model.name}", lead, sections, models)


def _bracket(result: CertifyResult) -> Section:
    rows = [("0 (clean)", "0", percent(result.clean.value), interval(result.clean), "", "", "")]
    rows += [
        (
            str(point.eps_steps),
            real(point.eps_input),
            percent(point.proved.value),
            interval(point.proved),
            percent(point.unbroken.value),
            "-" if point.attacked is None else percent(point.attacked.value),
            of_open(point),
        )
        for point in result.points
    ]
    unit = result.input_unit or "input units"
    columns = ("eps, int8 steps", unit, "proved", "95 %", "not broken", "attacks leave", "open")
    note = (
        "Proved: a lower bound of robust accuracy on these samples; not broken: an upper one, over the attacks that "
        "were handed in and the inputs found here. Open samples lie between. Intervals: Wilson."
    )
    return Section("Robust accuracy from both sides", "", _chart(result), Grid(columns, tuple(rows)), note)


def of_open(point: CertifyPoint) -> str:
    """The number of samples that are neither proved nor broken."""
    return of(point.proved.model_copy(update={"k": point.statuses.count("o")}))


def _chart(result: CertifyResult) -> Chart:
    series = [
        (
            name,
            [
                Point(point.eps_steps, rate.value, rate.low, rate.high)
                for point in result.points
                for rate in (point.proved if name == "proved" else point.unbroken,)
            ],
        )
        for name in ("proved", "not broken")
    ]
    last = max(2, result.points[-1].eps_steps)
    ticks = tuple(float(point.eps_steps) for point in result.points)
    return chart(
        "Lower and upper bound of robust accuracy against eps",
        series,
        Axis("eps, int8 steps", 1, last, ticks, logarithmic=True),
        Axis("samples, %", 0, 1, (0, 0.25, 0.5, 0.75, 1), percent=True),
    )


def _levels(result: CertifyResult) -> Section:
    rows: list[tuple[str, ...]] = []
    for place, point in enumerate(result.points):
        attacked = point.statuses.count("b") - point.settled("b", "clean")
        for level in LEVELS[1:]:
            tried, broken = point.tried[level], result.broke(place, level)
            per_sample = real(point.seconds[level] / tried) if tried else "-"
            found = count(point.settled("p", level)), count(broken)
            rows.append((str(point.eps_steps), level, count(tried), *found, per_sample))
            attacked -= broken
        if attacked:
            rows.append((str(point.eps_steps), "attacks alone", "-", "-", count(attacked), "-"))
    note = (
        "Levels: intervals of exact integers; linear relaxation backwards; splitting until each part is proved or "
        f"broken, for at most {real(result.plan.seconds)} s."
    )
    columns = ("eps", "level", "tried", "proved", "broken", "s a sample")
    return Section("By level", "", None, Grid(columns, tuple(rows), left=2), note)


def _device(result: CertifyResult) -> Section:
    seen = result.confirmation
    if seen is None:
        return Section("On the device", "", None, Grid(("confirmation",), (("none: no build was given",),)))
    columns = ("inputs replayed", "bytes compared", "inputs that differ from the twin")
    row = (count(seen.inputs), count(seen.bytes_compared), count(seen.mismatched_inputs))
    note = "Clean inputs, inputs that break samples, and a random corner of every ball that is proved."
    return Section("On the device", "", None, Grid(columns, (row,)), note)


def facts(result: CertifyResult) -> Facts:
    """Say between which bounds robust accuracy lies at each eps."""
    points = [
        f"eps {steps(point.eps_steps)}: at least {percent(point.proved.value)} ({of(point.proved)}), "
        f"at most {percent(point.unbroken.value)}"
        for point in result.points
    ]
    return {"proved": f"robust accuracy, proved on the deployed integers ({result.plan.norm}): {'; '.join(points)}"}


REPORT = SectionReport(content, facts)
