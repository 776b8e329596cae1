"""The report of a run for a terminal, in ASCII apart from what the result itself names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tritguard.evaluate.robustness.result import RobustnessResult
from tritguard.evaluate.study import Rate, Status
from tritguard.printable import printable
from tritguard.report import summary
from tritguard.report.wording import (
    FEATURE_MEANING,
    GOAL_MEANING,
    LIVE_MEANING,
    bounds_of,
    count,
    data_range,
    doubled,
    grown,
    in_steps,
    interval,
    lent,
    line,
    megahertz,
    of,
    percent,
    quarantined,
    real,
    refused,
    size,
    status_meaning,
    steps,
    throughput,
    timing,
    with_input_units,
)

_COLOUR: dict[Status, str] = {"valid": "green", "degraded": "yellow", "invalid": "red"}
_BAR_WIDTH = 20
_INTERVAL = "95 %"
_ROOM = 76


def render(result: RobustnessResult) -> Group:
    """Lay out the report for a terminal; an invalid result shows its reasons and no accuracy."""
    quotable = result.status != "invalid"
    accuracy: list[RenderableType] = [_accuracy(result), _attacks(result), *_effort(result)] if quotable else []
    facts = [_device(result), _latency(result), _flash(result), _ram(result)]
    return Group(_head(result), *accuracy, *_unmade(result), *facts)


def _plain(text: str, style: str = "") -> Text:
    """Turn foreign text into a Text in which no markup is read and no control character passes."""
    return Text(printable(text), style=style)


class _Rates(Table):
    """Keeps intervals in one line where there is room for them: names and bars give way first."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for column in self.columns:
            column.no_wrap = column.header == _INTERVAL and options.max_width >= _ROOM
        return super().__rich_console__(console, options)


def _table(title: str, *columns: str) -> Table:
    """Make a table whose columns after the first are aligned right; a leading '<' keeps one left."""
    table = _Rates(title=title, title_justify="left", title_style="bold", header_style="bold", box=None)
    for index, column in enumerate(columns):
        left = index == 0 or column.startswith("<")
        table.add_column(column.removeprefix("<"), justify="left" if left else "right")
    return table


def _facts(title: str, rows: Iterable[tuple[str, RenderableType]]) -> Group:
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(f" {name}", value)
    return Group(Text(f"\n{title}", style="bold"), table)


def _head(result: RobustnessResult) -> Panel:
    firmware, colour = result.firmware, _COLOUR[result.status]
    engine = "" if firmware.engine == "native" else f", engine {firmware.engine}"
    board = f"{firmware.board_name} ({firmware.core}, {'emulated' if firmware.emulated else 'real'}{engine})"
    lines = [
        _plain(f"{result.provenance.model_name} on {board}, data {result.provenance.data_name}", "bold"),
        Text.assemble((f" {result.status.upper()} ", f"bold reverse {colour}"), f" {status_meaning(result)}"),
    ]
    if result.threat_model.goal == "targeted":
        lines.append(Text.assemble((" TARGETED ", "bold reverse"), f" {GOAL_MEANING['targeted']}"))
    if result.threat_model.space == "features":
        lines.append(Text.assemble((" FEATURES ", "bold reverse"), f" {FEATURE_MEANING}"))
    if result.live:
        lines.append(Text.assemble((" LIVE ", "bold reverse"), f" {LIVE_MEANING}"))
    lines += [Text.assemble((printable(issue.code), colour), "  ", _plain(issue.message)) for issue in result.issues]
    if result.status == "invalid":
        lines.append(Text("Its raw figures are in result.json, only for finding the fault.", "dim"))
    else:
        lines.append(_headline(result))
    return Panel(Group(*lines), border_style=colour, title="tritguard report", title_align="left")


def _headline(result: RobustnessResult) -> Text:
    text = Text.assemble("\nclean accuracy ", (percent(result.clean.value), "bold"), f" ({interval(result.clean)})")
    point = summary.headline_point(result)
    if point:
        text.append("\nrobust accuracy ").append(percent(point.robust.value), "bold")
        named = with_input_units(point.eps_steps, point.eps_input, result.threat_model.norm)
        text.append(f" ({interval(point.robust)}), worst case at eps {named}")
    codes = ", ".join(printable(issue.code) for issue in result.issues)
    return text.append(f"\nsubject to {codes}", _COLOUR[result.status]) if codes else text


def _accuracy(result: RobustnessResult) -> Group:
    norm = result.threat_model.norm
    units = ("input units",) if in_steps(norm) else ()
    table = _table(
        "\nWorst case over all attacks", f"eps, {bounds_of(norm)}", *units, "correct", "accuracy", _INTERVAL, "<"
    )
    _rate_row(table, ("0 (clean)", "0")[: 1 + len(units)], result.clean)
    for point in summary.robust_points(result):
        beyond = "" if point.eps_steps in result.threat_model.eps_steps else " *"
        _rate_row(table, (f"{point.eps_steps}{beyond}", real(point.eps_input))[: 1 + len(units)], point.robust)
    notes = [_plain(f" Input unit: {result.threat_model.input_unit}. Intervals: Wilson.", "dim")]
    notes.append(Text(f" {data_range(result.threat_model.data_range)}", "dim"))
    if any(point.eps_steps not in result.threat_model.eps_steps for point in summary.robust_points(result)):
        notes.append(Text(" * beyond the threat model: checks the attacks", "dim"))
    if full := result.clean_full:
        notes.append(Text(f" Clean accuracy over the whole data set, on the twin: {percent(full.value)} ({of(full)})"))
    return Group(table, *notes)


def _rate_row(table: Table, eps: Sequence[str], rate: Rate) -> None:
    bar = ProgressBar(total=rate.n, completed=rate.k, width=_BAR_WIDTH, complete_style="blue", finished_style="blue")
    table.add_row(*eps, of(rate), percent(rate.value), interval(rate), bar)


def _attacks(result: RobustnessResult) -> Table:
    table = _table("\nEach attack alone", "attack", "<kind", "eps", "accuracy", _INTERVAL, "queries", "grad.", "s")
    for group in summary.attack_groups(result):
        for row, _ in group.rows:
            table.add_row(
                _plain(group.attack),
                group.kind,
                str(row.eps_steps),
                percent(row.robust.value),
                interval(row.robust),
                count(row.queries_per_sample),
                count(row.gradients_per_sample),
                count(row.seconds),
            )
        table.add_section()
    return table


def _effort(result: RobustnessResult) -> list[Text]:
    """Say what was run, how fast, and how the control and twice the steps came out."""
    lines = []
    if result.preset:
        lines.append(f"preset {result.preset}")
    if effort := result.throughput:
        many = f"{effort.workers} process{'' if effort.workers == 1 else 'es'}"
        lines.append(f"{many}, {effort.seconds:.0f} s by the clock: {throughput(effort)}")
        lines += filter(None, [refused(effort)])
    if control := result.control:
        robust = f"{percent(control.robust.value)} at eps {steps(control.eps_steps)}"
        lines.append(f"undefended control{control.called}: clean {percent(control.clean.value)}, robust {robust}")
    lines += [doubled(result.doubling)] if result.doubling else []
    lines += [grown(one) for one in result.growth]
    return [_plain(f" {text}", "dim") for text in lines]


def _unmade(result: RobustnessResult) -> list[RenderableType]:
    """List the checks that could not be made, which say nothing about the result."""
    if not result.unmade:
        return []
    table = _table("\nChecks that could not be made", "check", "<why")
    for one in result.unmade:
        table.add_row(_plain(one.code), _plain(one.reason))
    return [table]


def _device(result: RobustnessResult) -> Group:
    seen = result.confirmation
    verdict = Text("every byte as the twin gave it", "green")
    if seen.mismatched_inputs:
        verdict = Text(f"{count(seen.mismatched_inputs)} inputs DIFFER from the twin", "bold red")
    return _facts(
        "Confirmation on the device",
        [
            ("inputs replayed", count(seen.inputs)),
            ("bytes compared", count(seen.bytes_compared)),
            ("mismatches", Text.assemble(f"{count(seen.mismatched_inputs)}: ", verdict)),
            ("frames resent", count(seen.resent_frames)),
            *([("line", line(seen))] if seen.bulk_inputs else []),
            *([("lent", lent(seen))] if seen.lent_boards else []),
            *([("asked no more", quarantined(seen))] if seen.quarantined else []),
        ],
    )


def _latency(result: RobustnessResult) -> Group:
    latency, rows = result.latency, list[tuple[str, RenderableType]]()
    if latency.instructions is not None:
        rows.append(("instructions", f"{count(latency.instructions)} (exact)"))
    if latency.cycles_estimated is not None:
        method = _plain(f" by {latency.cycles_method or 'an unnamed method'}")
        rows.append(("cycles", Text.assemble(f"{count(latency.cycles_estimated)} ", ("ESTIMATED", "yellow"), method)))
        at = f" at {megahertz(latency.core_hz)}"
        rows.append(("time", Text.assemble(f"{real(latency.milliseconds)} ms ", ("ESTIMATED", "yellow"), at)))
    elif result.firmware.emulated:
        rows.append(("time", "none: an emulator's ticks are not time"))
    else:
        spread = f"{count(latency.ticks_min)} to {count(latency.ticks_max)} ticks of {megahertz(latency.tick_hz)}"
        rows.append(("time", f"{real(latency.milliseconds)} ms, measured, median of {count(latency.runs)} ({spread})"))
        if how := timing(latency):
            rows.append(("measured", _plain(how)))
    rows.append(("work", f"{count(result.model_macs)} multiply-accumulates"))
    return _facts("Latency of one inference", rows)


def _flash(result: RobustnessResult) -> Group:
    footprint = result.footprint
    groups = _table(f"\nFlash: {size(footprint.flash_total)}", "group", "bytes", "share")
    for name, amount in summary.flash_parts(footprint).items():
        groups.add_row(_plain(name), count(amount), percent(amount / footprint.flash_total))
    sections = Text.assemble(" sections: ", _plain(_listed(footprint.flash_sections)), style="dim")
    layers = _table("", "layer", "<op", "<name", "bytes")
    for layer in footprint.flash_layers:
        layers.add_row(str(layer.layer), _plain(layer.op), _plain(layer.name), count(layer.bytes))
    ternary = Text(f" {result.ternary_layers} of {result.weight_layers} layers with weights are ternary", "dim")
    return Group(groups, sections, layers, ternary)


def _listed(sizes: dict[str, int]) -> str:
    return ", ".join(f"{name} {count(amount)}" for name, amount in sizes.items())


def _ram(result: RobustnessResult) -> Group:
    footprint = result.footprint
    stack = f"{count(footprint.stack_peak)} B at its peak, of {count(footprint.stack_reserved)} reserved"
    return _facts(
        "RAM",
        [
            ("static", size(footprint.ram_static)),
            ("of it arena", size(footprint.ram_arena)),
            ("stack", stack),
        ],
    )
