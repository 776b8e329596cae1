"""What can be exported to, and where each build system looks for C files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Folders of a library, relative to the export: of the model's header, and of all other C files."""

    api: str
    sources: str


# The rest of each export are the files of templates/<target>/, at the places they have there. None: one header.
TARGETS: dict[str, Layout | None] = {
    "platformio-lib": Layout("include", "src"),
    "cmake": Layout("include", "src"),
    "zephyr": Layout("include", "src"),
    "arduino": Layout("src", "src"),
    "single-header": None,
}
