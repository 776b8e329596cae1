"""The table of ops in docs/ops.md, made from what each reader says: python -m tests.support.ops_table writes it."""

from __future__ import annotations

from tests.support.shared import ROOT
from tritguard.graph import SUPPORTED_OPS
from tritguard.graph.reading.registry import FACTS

PAGE = ROOT / "docs" / "ops.md"
_HEAD = "| ops | on the device | limits |\n|---|---|---|\n"


def table() -> str:
    """One row for all ops that are the same on the device."""
    rows: dict[str, list[str]] = {}
    for name in SUPPORTED_OPS:
        rows.setdefault(FACTS[name].device, []).append(name)
    lines = []
    for device, names in rows.items():
        limits = dict.fromkeys(FACTS[name].limits for name in names if FACTS[name].limits)
        lines.append(f"| {', '.join(names)} | {device} | {'; '.join(limits)} |\n")
    return _HEAD + "".join(lines)


def documented(page: str) -> str:
    """The table as the page has it."""
    start = page.index(_HEAD)
    return page[start : page.index("\n\n", start) + 1]


if __name__ == "__main__":
    text = PAGE.read_text()
    PAGE.write_text(text.replace(documented(text), table()))
