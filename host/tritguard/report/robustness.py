"""The report of a run: its robustness evaluation, with what the other studies of the same model found."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from typing_extensions import override

from tritguard.evaluate.robustness.figures import CurvePoint
from tritguard.evaluate.robustness.result import RobustnessResult
from tritguard.evaluate.study import Rate
from tritguard.report import html, summary, terminal
from tritguard.report.study import Facts, Part, Report, table
from tritguard.report.wording import bound, count, interval, of, percent, real, size, with_input_units


class _RunReport(Report[RobustnessResult]):
    @override
    def html(self, result: RobustnessResult, parts: Sequence[Part] = ()) -> str:
        return html.render(result, parts)

    @override
    def terminal(self, result: RobustnessResult, parts: Sequence[Part] = ()) -> Group:
        return Group(terminal.render(result), *(table(*part) for part in parts))

    @override
    def facts(self, result: RobustnessResult) -> Facts:
        return facts(result)


def facts(result: RobustnessResult) -> Facts:
    """Say what a robustness evaluation found, in a sentence each."""
    seen, latency, footprint = result.confirmation, result.latency, result.footprint
    found = {
        "clean": f"accuracy on clean inputs {_rate(result.clean)}",
        "confirmation": f"{count(seen.mismatched_inputs)} of {count(seen.inputs)} inputs gave other bytes on the "
        f"device than on its twin, {count(seen.bytes_compared)} bytes compared",
        "checks": f"{len(result.passed)} checks passed, {len(result.issues)} found something, "
        f"{len(result.unmade)} could not be made",
        "footprint": f"flash {size(footprint.flash_total)}, static RAM {size(footprint.ram_static)}, "
        f"stack {size(footprint.stack_peak)} at its peak",
    }
    if point := summary.headline_point(result):
        found["robust"] = f"accuracy in the worst case over all attacks {_rate(point.robust)}, {_bound(result, point)}"
    for kind in dict.fromkeys(row.kind for row in result.attacks):
        found[kind.replace(" ", "_")] = _worst_of(result, kind)
    if full := result.clean_full:
        found["whole_set"] = f"accuracy on all clean test samples, on the twin, {_rate(full)}"
    if result.data_checks:
        made = [share for share in result.data_checks.values() if share is not None]
        found["data"] = f"{len(made)} checks of the data against the model were made"
    if latency.instructions is not None:
        found["latency"] = f"{count(latency.instructions)} instructions an inference, exact"
    elif not result.firmware.emulated:
        found["latency"] = f"{real(latency.milliseconds)} ms an inference, measured"
    return found


def _rate(rate: Rate) -> str:
    return f"{percent(rate.value)} ({of(rate)}; 95 % {interval(rate)})"


def _bound(result: RobustnessResult, point: CurvePoint) -> str:
    norm = result.threat_model.norm
    return f"{norm}, eps {with_input_units(point.eps_steps, point.eps_input, norm)}"


def _worst_of(result: RobustnessResult, kind: str) -> str:
    """Say what the strongest attack of a kind left, at the largest eps of the threat model at which they ran."""
    named = [row for row in result.attacks if row.kind == kind and row.eps_steps in result.threat_model.eps_steps]
    if not named:
        names = ", ".join(dict.fromkeys(row.attack for row in result.attacks if row.kind == kind))
        return f"ran beyond the threat model only: {names}"
    eps = max(row.eps_steps for row in named)
    worst = min((row for row in named if row.eps_steps == eps), key=lambda row: row.robust.k)
    names, norm = ", ".join(dict.fromkeys(row.attack for row in named)), result.threat_model.norm
    return f"{names}: the strongest alone ({worst.attack}) leaves {_rate(worst.robust)} at eps {bound(eps, norm)}"


REPORT = _RunReport()
