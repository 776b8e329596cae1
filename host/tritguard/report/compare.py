"""Results side by side, for the terminal and as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rich.console import Group
from rich.text import Text

from tritguard.evaluate.robustness.significance import LEVEL
from tritguard.printable import printable
from tritguard.report import lines
from tritguard.report import study as layout
from tritguard.report import wording as say
from tritguard.report.comparison import Compared, Comparison
from tritguard.report.lines import Axis, Chart, Point, chart, round_ticks
from tritguard.report.study import Grid, Page, Section
from tritguard.report.templating import environment

_MANY = 3  # the number of results from which a picture of all says more than tables
_NOTE = (
    "Each figure is of that result's own samples. Robust: at the largest bound that all share, in input units. "
    "*: of the samples that all have, no other result beats it in robust accuracy, flash and RAM."
)
_COSTS = "RAM: static memory and the stack's peak. Time on an emulated board is an estimate."
_OTHERWISE = (
    " Attacked otherwise: by other attacks or with other budgets than the first, so that its accuracy under attacks "
    "cannot be ranked."
)
_TEST = (
    "Against the first result. p: McNemar's exact test, two-sided, on the samples that hold in one of the two alone; "
    f"better or worse where it is below {100 * LEVEL:.0f} % divided by the number of rows (Bonferroni)."
)
_PICTURE = (
    "Each dot is a result, by the samples that all have; results that are equal lie around each other as rings. A "
    "dashed line joins those that no other one beats in accuracy, flash and RAM."
)


def page(found: Comparison) -> Page:
    """Lay a comparison out: all results, the pairs, and from three results on a picture of all."""
    sections = [
        Section("Results", "", None, _results(found), _note(found)),
        Section(
            "Paired by sample", f"Of the {say.count(found.samples)} samples that all have.", None, _paired(found), _TEST
        ),
        Section("What they cost", "", None, _costs(found), _COSTS),
    ]
    if len([one for one in found.results if one.paired]) >= _MANY:
        sections.append(Section("Robust accuracy against flash", _PICTURE, _pareto(found)))
    names = [one.name for one in found.results]
    title = " and ".join(names) if len(names) == 2 else f"{len(names)} results"
    lead = f"Of {found.data_name}, {found.norm} bounds. {_shared(found)}"
    return Page(f"Comparison: {title}", lead, tuple(sections))


def _shared(found: Comparison) -> str:
    """Say which samples the pairs are of, and whether the results have more."""
    own = {one.clean.n for one in found.results if one.clean is not None}
    if own == {found.samples}:
        return f"All figures are of the same {say.count(found.samples)} samples."
    return (
        f"Pairs are of the {say.count(found.samples)} samples that all have; the table of results has each one's own."
    )


def _results(found: Comparison) -> Grid:
    rows = tuple(_row(one, "* " if place in found.front else "") for place, one in enumerate(found.results))
    bound = next((f" at {say.real(one.eps_input)}" for one in found.results if one.eps_input is not None), "")
    return Grid(("result", "status", "board", "samples", "clean", f"robust{bound}"), rows, left=3)


def _costs(found: Comparison) -> Grid:
    rows = tuple(
        (
            one.name,
            say.count(one.flash),
            say.count(one.ram),
            "" if one.instructions is None else say.count(one.instructions),
            "" if one.milliseconds is None else say.real(one.milliseconds),
        )
        for one in found.results
    )
    return Grid(("result", "flash, B", "RAM, B", "instructions", "ms"), rows)


def _note(found: Comparison) -> str:
    return _NOTE + ("" if all(one.attacked_alike for one in found.results) else _OTHERWISE)


def _row(one: Compared, mark: str) -> tuple[str, ...]:
    robust = "withheld" if one.clean is None else "no bound is shared"
    if one.robust is not None and one.eps_input is not None:
        robust = say.percent(one.robust.value)
    return (
        f"{mark}{one.name}",
        (one.status if not one.codes else f"{one.status}: {', '.join(one.codes)}")
        + ("" if one.attacked_alike else "; attacked otherwise"),
        f"{one.board}{' (emulated)' if one.emulated else ''}",
        "" if one.clean is None else say.count(one.clean.n),
        "withheld" if one.clean is None else say.percent(one.clean.value),
        robust,
    )


def _paired(found: Comparison) -> Grid:
    rows = [
        (
            found.results[pair.other].name,
            "clean" if pair.eps_input == 0 else say.real(pair.eps_input),
            say.percent(pair.first.value),
            say.percent(pair.second.value),
            str(pair.gained),
            str(pair.lost),
            f"{pair.p:.2g}",
            pair.verdict,
        )
        for pair in found.pairs
    ]
    columns = ("result", "eps, input units", "first", "this one", "gained", "lost", "p", "verdict")
    return Grid(columns, tuple(rows), left=2)


def _pareto(found: Comparison) -> Chart:
    shown = [(place, one, one.paired) for place, one in enumerate(found.results) if one.paired is not None]
    sizes = [one.flash / 1024 for _, one, _ in shown]
    ticks = round_ticks(0.9 * min(sizes), 1.1 * max(sizes))
    front = sorted((one.flash / 1024, robust.value) for place, one, robust in shown if place in found.front)
    return chart(
        "Robust accuracy against flash",
        [(one.name, [Point(one.flash / 1024, rate.value, rate.low, rate.high)]) for _, one, rate in shown],
        Axis("flash, KiB", ticks[0], ticks[-1], ticks),
        Axis("robust accuracy, %", 0, 1, (0, 0.25, 0.5, 0.75, 1), percent=True),
        guide=("the front", _stairs(front)) if len(set(front)) > 1 else ("", ()),
    )


def _stairs(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Join points as a front: what is reached with one amount of flash holds until the next one reaches more."""
    found = list(points[:1])
    for (_, before), (size, value) in pairwise(points):
        found += [(size, before), (size, value)]
    return found


def to_html(found: Comparison, home: str = "") -> str:
    """Lay a comparison out as one HTML file that loads nothing; `home` is the address of the list of runs, if any."""
    template = environment().get_template("compare.html.jinja")
    return template.render(page=page(found), found=found, lines=lines, home=home)


def to_terminal(found: Comparison) -> Group:
    """Lay a comparison out for a terminal."""
    shown = page(found)
    head = Text(printable(shown.title), style="bold")
    return Group(head, Text(printable(shown.lead)), *layout.tables(shown))
