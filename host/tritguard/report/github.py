"""Cases as the workflow commands that GitHub shows as annotations of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tritguard.evaluate.study import Study
from tritguard.printable import printable
from tritguard.report.gates import Case

# GitHub reads these as the ends of a message or of a property; the texts may be anybody's.
_IN_MESSAGE = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_IN_PROPERTY = _IN_MESSAGE | str.maketrans({":": "%3A", ",": "%2C"})


def workflow_commands(studies: Sequence[Study], cases: Sequence[Case]) -> Iterator[str]:
    """Write a line for each failed case, for each finding that did not fail, and for the status of each study."""
    failed = {(case.study, case.code): case for case in cases if case.outcome == "failed"}
    for case in failed.values():
        yield _line("error", f"{case.study}: {case.code}", case.message)
    for study in studies:
        for issue in study.issues:
            if (study.kind, issue.code) not in failed:
                yield _line("warning", f"{study.kind}: {issue.code}", issue.message)
        yield _line("notice", f"{study.kind}: {study.status}", f"{len(study.issues)} findings")


def _line(level: str, title: str, message: str) -> str:
    return f"::{level} title={printable(title).translate(_IN_PROPERTY)}::{printable(message).translate(_IN_MESSAGE)}"
