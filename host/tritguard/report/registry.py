"""The report of any study: `tritguard.report.NAME.REPORT` shows the results whose kind is NAME."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from rich.console import Group

from tritguard.evaluate.study import Study
from tritguard.report.study import Part, Report, SectionReport


def report_of(kind: str) -> Report[Any]:
    """The report of the study with this name."""
    report: Report[Any] = import_module(f"tritguard.report.{kind}").REPORT
    return report


def to_html(study: Study, beside: Sequence[Study] = ()) -> str:
    """Lay out a study's report as one HTML file that loads nothing.

    Args:
        study: the result to report.
        beside: other results of the same model, for the report of a whole run.

    Raises:
        BadInputError: a picture in the result is damaged.
    """
    return report_of(study.kind).html(study, _parts(beside))


def to_terminal(study: Study, beside: Sequence[Study] = ()) -> Group:
    """Lay out a study's report for a terminal; see `to_html`."""
    return report_of(study.kind).terminal(study, _parts(beside))


def facts_of(study: Study) -> dict[str, str]:
    """What a study found, in a sentence each, by `STUDY.NAME`; an invalid one says why nothing may be quoted."""
    facts = report_of(study.kind).facts(study)
    codes = ", ".join(issue.code for issue in study.issues)
    if study.status == "invalid":
        facts = dict.fromkeys(facts, f"withheld: the result is invalid ({codes})")
    elif study.status == "degraded":
        facts = {name: f"{text} (degraded: {codes})" for name, text in facts.items()}
    return {f"{study.kind}.{name}": text for name, text in facts.items()}


def _parts(studies: Sequence[Study]) -> list[Part]:
    return [_part(study) for study in studies]


def _part(study: Study) -> Part:
    report = report_of(study.kind)
    assert isinstance(report, SectionReport), f"the report of {study.kind} is no part of others"
    return study, report.content(study)
