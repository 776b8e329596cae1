"""The report of a run: its robustness evaluation, with what the other studies of the same model found."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from typing_extensions import override

from tritguard.evaluate.robustness.result import RobustnessResult
from tritguard.report import html, terminal
from tritguard.report.study import Part, Report, table


class _RunReport(Report[RobustnessResult]):
    @override
    def html(self, result: RobustnessResult, parts: Sequence[Part] = ()) -> str:
        return html.render(result, parts)

    @override
    def terminal(self, result: RobustnessResult, parts: Sequence[Part] = ()) -> Group:
        return Group(terminal.render(result), *(table(*part) for part in parts))


REPORT = _RunReport()
