"""The export targets, and where each build system looks for C files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """The folders of a library, relative to the export.

    Attributes:
        api: holds the model's header.
        sources: holds all other C files.
    """

    api: str
    sources: str


# The remaining files of each export come from templates/<target>/ and keep their places. None means a single header.
TARGETS: dict[str, Layout | None] = {
    "platformio-lib": Layout("include", "src"),
    "cmake": Layout("include", "src"),
    "zephyr": Layout("include", "src"),
    "arduino": Layout("src", "src"),
    "single-header": None,
}
