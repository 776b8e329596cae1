"""What a study's report is made of; the terminal and the HTML file show the same sections."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from tritguard.evaluate.study import Status, Study
from tritguard.printable import printable
from tritguard.report import lines, wording
from tritguard.report.explained import explained
from tritguard.report.lines import Chart
from tritguard.report.templating import environment
from tritguard.report.wording import status_meaning

S = TypeVar("S", bound=Study)

_WHOLE = re.compile(r"[A-Z]+(?:_[A-Z]+)+[,;]?|^[\d.]+ to [\d.]+ %$")  # codes and intervals
_COLOUR: dict[Status, str] = {"valid": "green", "degraded": "yellow", "invalid": "red"}


@dataclass(frozen=True)
class Grid:
    """A table with its cells as they are shown; all columns but the first `left` are aligned right.

    Attributes:
        heat: for each row, how strongly each of its cells is tinted, from 0 to 1; empty for no tint.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1
    heat: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        if not all(self.columns):
            raise ValueError(f"a column without a heading, which tells nothing to who hears the page: {self.columns}")


@dataclass(frozen=True)
class Figure:
    """A picture, and with it a sound where there is one.

    Attributes:
        image: a PNG as a data URI.
        alternative: what it shows, for readers who cannot see it.
        sound: a WAV file as a data URI, which readers can play; empty for none.
    """

    image: str
    width: int
    height: int
    alternative: str
    caption: str
    sound: str = ""

    @property
    def wide(self) -> bool:
        """Whether it needs more room than a square."""
        return self.width > 2 * self.height


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    heading: str
    text: str = ""
    chart: Chart | None = None
    grid: Grid | None = None
    note: str = ""
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class Page:
    """A study's report without its status and its provenance, which look the same for all studies.

    Attributes:
        models: the name and the SHA-256 of each model that it is about.
    """

    title: str
    lead: str
    sections: Sequence[Section] = field(default_factory=tuple)
    models: Sequence[tuple[str, str]] = ()


Facts = dict[str, str]
"""What a result found, in a sentence each, by names that other documents refer to."""

Part = tuple[Study, Page]
"""A study in the report of the run that it belongs to."""


class Report(ABC, Generic[S]):
    """How the results of one kind of study are shown."""

    @abstractmethod
    def html(self, result: S, parts: Sequence[Part] = ()) -> str:
        """Lay out the report as one HTML file; `parts` are other studies of the same run."""

    @abstractmethod
    def terminal(self, result: S, parts: Sequence[Part] = ()) -> Group:
        """Lay out the report for a terminal."""

    @abstractmethod
    def facts(self, result: S) -> Facts:
        """Say what was found, whatever the result's status is; `registry.facts_of` withholds what is invalid."""


@dataclass(frozen=True)
class SectionReport(Report[S]):
    """A report made of sections, which is shown alone and as a part of a run's report alike.

    Attributes:
        content: gives what is shown of a result.
        found: gives its facts; without it, the only one is `lead`, what the report begins with.
    """

    content: Callable[[S], Page]
    found: Callable[[S], Facts] | None = None

    @override
    def html(self, result: S, parts: Sequence[Part] = ()) -> str:
        return page(result, self.content(result))

    @override
    def terminal(self, result: S, parts: Sequence[Part] = ()) -> Group:
        return table(result, self.content(result))

    @override
    def facts(self, result: S) -> Facts:
        return {"lead": self.content(result).lead} if self.found is None else self.found(result)


def page(result: Study, content: Page) -> str:
    """Lay out a study as one HTML file that loads nothing."""
    context = {"result": result, "page": content, "lines": lines, "say": wording, "explained": explained}
    return environment().get_template("study.html.jinja").render(context)


def table(result: Study, content: Page) -> Group:
    """Lay out a study for a terminal; an invalid result shows its reasons and no figures."""
    parts: list[RenderableType] = [_head(result, content)]
    if result.status != "invalid":
        parts += tables(content)
    return Group(*parts)


def tables(content: Page) -> list[RenderableType]:
    """Lay out the tables of a page for a terminal, each with its heading and its note."""
    return [part for section in content.sections if section.grid for part in _section(section, section.grid)]


def _head(result: Study, content: Page) -> Panel:
    colour = _COLOUR[result.status]
    found = [Text.assemble((printable(issue.code), colour), "  ", printable(issue.message)) for issue in result.issues]
    status = Text.assemble((f" {result.status.upper()} ", f"bold reverse {colour}"), f" {status_meaning(result)}")
    lead = Text(printable(content.title), style="bold")
    return Panel(Group(lead, status, *found), border_style=colour, title="tritguard report", title_align="left")


def _section(section: Section, grid: Grid) -> list[RenderableType]:
    shown = Table(title=f"\n{printable(section.heading)}", title_justify="left", title_style="bold", box=None)
    for index, column in enumerate(grid.columns):
        shown.add_column(printable(column), justify="left" if index < grid.left else "right", header_style="bold")
        # Codes and figures are of no use without their end, so what is too long goes on in the next line.
        shown.columns[index].overflow = "fold" if index else "ellipsis"
        # No code and no interval is broken over two lines.
        if whole := [each for row in grid.rows for each in _WHOLE.findall(row[index])]:
            shown.columns[index].width = max(map(len, whole))
    for row in grid.rows:
        shown.add_row(*(Text(printable(cell)) for cell in row))
    return [shown, *([Text(f" {printable(section.note)}", style="dim")] if section.note else [])]
