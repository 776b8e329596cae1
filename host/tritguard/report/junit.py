"""Cases as JUnit XML, which continuous integration shows as tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from xml.etree import ElementTree as Xml

from tritguard.printable import printable
from tritguard.report.gates import Case


def to_junit(cases: Sequence[Case]) -> str:
    """Write a test suite for each study, and a test case for each check and gate."""
    root = Xml.Element("testsuites", {"name": "tritguard"} | _counts(cases))
    for study in dict.fromkeys(case.study for case in cases):
        ours = [case for case in cases if case.study == study]
        suite = Xml.SubElement(root, "testsuite", {"name": study} | _counts(ours))
        for case in ours:
            _add(suite, case)
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _counts(cases: Sequence[Case]) -> dict[str, str]:
    outcomes = Counter(case.outcome for case in cases)
    counts = {"tests": len(cases), "failures": outcomes["failed"], "errors": 0, "skipped": outcomes["skipped"]}
    return {name: str(number) for name, number in counts.items()}


def _add(suite: Xml.Element, case: Case) -> None:
    message = printable(case.message)
    test = Xml.SubElement(suite, "testcase", classname=f"tritguard.{case.study}", name=printable(case.code))
    if case.outcome == "failed":
        Xml.SubElement(test, "failure", message=message, type=printable(case.code))
    elif case.outcome == "skipped":
        Xml.SubElement(test, "skipped", message=message)
    else:
        Xml.SubElement(test, "system-out").text = message
