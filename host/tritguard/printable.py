"""Makes strings of any origin safe to show."""

from __future__ import annotations


def printable(text: str, kept: str = "") -> str:
    r"""Spell out control and direction-changing characters as JSON does: `\u001b`.

    A result file may come from anywhere; its strings must not drive a terminal or reorder what a reader sees.

    Args:
        text: any text, even one that is no valid Unicode.
        kept: characters that stay as they are.
    """
    return "".join(char if char.isprintable() or char in kept else _spelled_out(char) for char in text)


def _spelled_out(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
