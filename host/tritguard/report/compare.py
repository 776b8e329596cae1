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
from tritguard.report.lines import Axis, Chart, Point, chart
from tritguard.report.study import Grid, Page, Section
from tritguard.report.templating import environment

_MANY = 3  # results from which on a picture of all says more than tables
_NOTE = (
    "Robust: at the largest bound that all share. *: no other result beats it in accuracy, flash and RAM. RAM: static "
    "memory and the stack's peak. Time on an emulated board is an estimate."
)
_OTHERWISE = (
    " Attacked otherwise: by other attacks or with other budgets than the first, so that its accuracy under attacks "
    "cannot be ranked."
)
_TEST = (
    "Against the first result. p: McNemar's exact test, two-sided, on the samples that hold in one of the two alone; "
    f"better or worse where it is below {100 * LEVEL:.0f} % divided by the number of rows (Bonferroni)."
)
_PICTURE = "Each dot is a result; the dashed line joins those that no other one beats in accuracy, flash and RAM."


def page(found: Comparison) -> Page:
    """Lay a comparison out: all results, the pairs, and from three results on a picture of all."""
    sections = [
        Section("Results", "", None, _results(found), _note(found)),
        Section("Paired by sample", "", None, _paired(found), _TEST),
    ]
    if len([one for one in found.results if one.robust]) >= _MANY:
        sections.append(Section("Robust accuracy against flash", _PICTURE, _pareto(found)))
    names = [one.name for one in found.results]
    title = " and ".join(names) if len(names) == 2 else f"{len(names)} results"
    lead = f"{say.count(found.samples)} samples of {found.data_name} that all have, {found.norm} bounds."
    return Page(f"Comparison: {title}", lead, tuple(sections))


def _results(found: Comparison) -> Grid:
    rows = tuple(_row(one, "* " if place in found.front else "") for place, one in enumerate(found.results))
    columns = ("result", "status", "board", "clean", "robust", "flash, B", "RAM, B", "instr.", "ms")
    return Grid(columns, rows, left=3)


def _note(found: Comparison) -> str:
    return _NOTE + ("" if all(one.attacked_alike for one in found.results) else _OTHERWISE)


def _row(one: Compared, mark: str) -> tuple[str, ...]:
    robust = "withheld" if one.clean is None else "no bound is shared"
    if one.robust is not None and one.eps_input is not None:
        robust = f"{say.percent(one.robust.value)} at {say.real(one.eps_input)}"
    return (
        f"{mark}{one.name}",
        (one.status if not one.codes else f"{one.status}: {', '.join(one.codes)}")
        + ("" if one.attacked_alike else "; attacked otherwise"),
        f"{one.board}{' (emulated)' if one.emulated else ''}",
        "withheld" if one.clean is None else say.percent(one.clean.value),
        robust,
        say.count(one.flash),
        say.count(one.ram),
        "" if one.instructions is None else say.count(one.instructions),
        "" if one.milliseconds is None else say.real(one.milliseconds),
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
    shown = [(place, one, one.robust) for place, one in enumerate(found.results) if one.robust is not None]
    sizes = [one.flash / 1024 for _, one, _ in shown]
    low, high = 0.9 * min(sizes), 1.1 * max(sizes)
    front = sorted((one.flash / 1024, robust.value) for place, one, robust in shown if place in found.front)
    return chart(
        "Robust accuracy against flash",
        [(one.name, [Point(one.flash / 1024, rate.value, rate.low, rate.high)]) for _, one, rate in shown],
        Axis("flash, KiB", low, high, tuple(low + (high - low) * part / 4 for part in range(5))),
        Axis("robust accuracy, %", 0, 1, (0, 0.25, 0.5, 0.75, 1), percent=True),
        guide=("the front", _stairs(front)),
    )


def _stairs(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Join points as a front: what is reached with so much flash holds until the next one reaches more."""
    found = list(points[:1])
    for (_, before), (size, value) in pairwise(points):
        found += [(size, before), (size, value)]
    return found


def to_html(found: Comparison) -> str:
    """Lay a comparison out as one HTML file that loads nothing."""
    return environment().get_template("compare.html.jinja").render(page=page(found), found=found, lines=lines, say=say)


def to_terminal(found: Comparison) -> Group:
    """Lay a comparison out for a terminal."""
    shown = page(found)
    head = Text(printable(shown.title), style="bold")
    return Group(head, Text(printable(shown.lead)), *layout.tables(shown))
