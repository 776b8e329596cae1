"""The report of a study of transfer."""

from __future__ import annotations

from tritguard.evaluate.transfer.result import Party, TransferResult
from tritguard.report import wording as say
from tritguard.report.lines import Axis, Chart, Point, chart
from tritguard.report.study import Facts, Grid, Page, Section, SectionReport
from tritguard.report.wording import count, data_range, interval, of, percent, steps

_LISTED = 20  # the most samples that are named


def content(result: TransferResult) -> Page:
    """Lay out what the report shows."""
    lead = (
        f"{result.plan.samples} samples of {result.provenance.data_name}, L-infinity. Inputs were crafted on each "
        "model with its own gradients and given to all. Float models ran in TensorFlow, deployed ones as twins. "
        f"{data_range(result.data_range)}"
    )
    clean = Grid(
        ("model", "form", "clean accuracy", "95 %"),
        tuple((party.name, party.form, percent(party.clean.value), interval(party.clean)) for party in result.parties),
        left=2,
    )
    sections = [Section("Models", grid=clean)]
    sections += [_matrix(result, eps, unit) for eps, unit in zip(result.plan.eps, result.eps_input, strict=True)]
    if result.apart:
        sections.append(_apart(result))
    if result.drift:
        sections.append(_drift(result))
    if result.triggered:
        sections.append(_triggered(result))
    models = [(_name(party), party.sha256) for party in result.parties]
    return Page("Transfer between " + ", ".join(map(_name, result.parties)), lead, sections, models)


def _name(party: Party) -> str:
    return f"{party.name} ({party.form})"


def _matrix(result: TransferResult, eps: int, unit: float) -> Section:
    cells = {(cell.source, cell.target): cell for cell in result.cells if cell.eps_steps == eps}
    sources = sorted({source for source, _ in cells})
    everyone = range(len(result.parties))
    rows = []
    for source in sources:
        row = [_name(result.parties[source])]
        for target in everyone:
            cell = cells[source, target]
            row.append(f"{percent(cell.accuracy.value)}, {'-' if cell.transferred is None else of(cell.transferred)}")
        rows.append(tuple(row))
    heat = tuple((0.0, *(1 - cells[source, target].accuracy.value for target in everyone)) for source in sources)
    return Section(
        f"eps {steps(eps)}, {say.eps(unit, result.input_unit)}",
        "Rows: the model that inputs were crafted on; columns: the model that answered. Each cell gives the accuracy "
        "left and, of the inputs that broke the source while both models were right before, how many break the target "
        "too. The stronger a cell's colour, the more is lost.",
        grid=Grid(("crafted on", *map(_name, result.parties)), tuple(rows), heat=heat),
    )


def _apart(result: TransferResult) -> Section:
    rows = tuple(
        (
            _name(result.parties[found.deployed]),
            _name(result.parties[found.keeper]),
            str(found.eps_steps),
            percent(found.fooled.value),
            interval(found.fooled),
            percent(found.crafted_alone.value),
        )
        for found in result.apart
    )
    columns = ("wrong", "right", "eps", "share", "95 %", "without trying")
    return Section(
        "The deployed model wrong, the float model right",
        "DIVA's idea (Hao et al. 2022): of the inputs that both models get right, the share on which the deployed "
        "model is led astray while the float model, asked to confirm, notices nothing. Without trying: the same share "
        "for inputs crafted on the deployed model alone.",
        _chart(result),
        Grid(columns, rows, left=2),
    )


def _drift(result: TransferResult) -> Section:
    rows = tuple(
        (
            _name(result.parties[one.deployed]),
            _name(result.parties[one.keeper]),
            f"{count(one.differing)} of {count(one.samples)}",
            ", ".join(
                f"{name} {went} ({second})"
                for name, went, second in zip(result.classes, one.towards, one.runner_up, strict=False)
                if went
            )
            or "none",
            ", ".join(map(str, one.indices[:_LISTED])) + (", ..." if one.differing > _LISTED else ""),
        )
        for one in result.drift
    )
    return Section(
        "What deployment changed without an attack",
        "How many samples of the test set the deployed model answers otherwise than the float model, and which classes "
        "it gives them; in brackets for how many of these samples the class was the float model's second choice, which "
        "is where rounding leads.",
        grid=Grid(
            ("deployed", "float", "answered otherwise", "towards (float's second choice)", "samples"), rows, left=5
        ),
    )


def _triggered(result: TransferResult) -> Section:
    rows = tuple(
        (
            _name(result.parties[one.deployed]),
            result.classes[one.wanted],
            f"{one.height} x {one.width} at {one.row}, {one.column}",
            of(one.fooled),
            interval(one.fooled),
        )
        for one in result.triggered
    )
    return Section(
        "Patches that move one model alone",
        "The patch that moves the most inputs to one class of the deployed model while its float model answers as "
        "before, measured on inputs that the search did not see. A backdoor that sleeps in the float model and wakes "
        "when it is quantized (Ma et al. 2021) moves nearly all of them; a small share is what rounding alone does.",
        grid=Grid(("deployed", "towards", "patch, pixels", "moved", "95 %"), rows, left=3),
    )


def _chart(result: TransferResult) -> Chart:
    pairs = dict.fromkeys((found.deployed, found.keeper) for found in result.apart)
    series = [
        (
            f"{_name(result.parties[deployed])} wrong, {_name(result.parties[keeper])} right",
            [
                Point(found.eps_steps, found.fooled.value, found.fooled.low, found.fooled.high)
                for found in result.apart
                if (found.deployed, found.keeper) == (deployed, keeper)
            ],
        )
        for deployed, keeper in pairs
    ]
    last = max(2, result.plan.eps[-1])
    return chart(
        "Share of inputs that fool the deployed model alone",
        series,
        Axis("eps, int8 steps", 1, last, tuple(map(float, result.plan.eps)), logarithmic=True),
        Axis("fooled alone, %", 0, 1, (0, 0.25, 0.5, 0.75, 1), percent=True),
    )


def facts(result: TransferResult) -> Facts:
    """Say, at the largest bound, how attacks on float models carried over, and how many fooled deployed ones alone."""
    eps, parties = result.plan.eps[-1], result.parties
    carried = [
        f"{_name(parties[cell.source])} to {_name(parties[cell.target])} {of(cell.transferred)}"
        for cell in result.cells
        if cell.eps_steps == eps and cell.transferred is not None
        if parties[cell.source].form == "float" != parties[cell.target].form
    ]
    alone = [
        f"{_name(parties[pair.deployed])} with {_name(parties[pair.keeper])} kept right {of(pair.fooled)}"
        for pair in result.apart
        if pair.eps_steps == eps
    ]
    found: Facts = {}
    if carried:
        found["carried"] = f"inputs that carry over at eps {steps(eps)}: {', '.join(carried)}"
    if result.drift:
        found["drift"] = "answered otherwise than by the float model: " + ", ".join(
            f"{_name(parties[one.deployed])} {count(one.differing)} of {count(one.samples)}" for one in result.drift
        )
    if alone:
        found["apart"] = f"inputs that fool the deployed model alone at eps {steps(eps)}: {', '.join(alone)}"
    return found


REPORT = SectionReport(content, facts)
