"""The table of ops in docs/ops.md, made from what each reader says: python -m tests.support.ops_table writes it."""

from __future__ import annotations

from tests.support.shared import ROOT
from tritguard.graph import SUPPORTED_OPS
from tritguard.graph.reading.registry import FACTS, WIDE_LIMITS

PAGE = ROOT / "docs" / "ops.md"
_HEAD = "| ops | on the device | limits | also with 16-bit activations |\n|---|---|---|---|\n"


def table() -> str:
    """One row for all ops that are the same on the device."""
    rows: dict[str, list[str]] = {}
    for name in SUPPORTED_OPS:
        rows.setdefault(FACTS[name].device, []).append(name)
    lines = []
    for device, names in rows.items():
        limits = dict.fromkeys(FACTS[name].limits for name in names if FACTS[name].limits)
        lines.append(f"| {', '.join(names)} | {device} | {'; '.join(limits)} | {_wide(names)} |\n")
    return _HEAD + "".join(lines)


def _wide(names: list[str]) -> str:
    """Which of these ops are taken with 16-bit activations too, and their limits."""
    wide = [name for name in names if name in WIDE_LIMITS]
    limits = dict.fromkeys(WIDE_LIMITS[name] for name in wide if WIDE_LIMITS[name])
    return "; ".join(["all" if wide == names else ", ".join(wide), *limits]) if wide else ""


def documented(page: str) -> str:
    """The table as the page has it."""
    start = page.index(_HEAD)
    return page[start : page.index("\n\n", start) + 1]


if __name__ == "__main__":
    text = PAGE.read_text()
    PAGE.write_text(text.replace(documented(text), table()))
