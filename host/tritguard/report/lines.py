"""The geometry of line charts with several series, in units of the SVG view box; lines.svg.jinja draws them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tritguard.report.wording import real

WIDTH = 400  # about the width of a phone, so that text keeps its size there
HEIGHT = 300
LEFT, RIGHT, TOP, BOTTOM = 62, 20, 16, 54
DOT = 3.4  # the radius of a mark
_RING_STEP = 3.4
_ALMOST = 1e-9  # a quotient this close to a whole number counts as that number
_PALETTE = ("#1b3a5c", "#b3541e", "#3f6f4f", "#6b4a7a", "#9a7b1f", "#4b5a68", "#7d2640")
_DASHES = ("", "7 4", "2 3", "9 3 2 3", "4 4", "1 4")  # so that nothing depends on colour alone


@dataclass(frozen=True)
class Point:
    """A value and its interval, at x."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True)
class Axis:
    """A scale from `first` to `last`, logarithmic or not, with the values marked on it."""

    label: str
    first: float
    last: float
    ticks: tuple[float, ...]
    logarithmic: bool = False
    percent: bool = False

    def share(self, value: float) -> float:
        """Find where a value lies, from 0 at `first` to 1 at `last`; values beyond lie at the ends."""
        turn: Callable[[float], float] = math.log if self.logarithmic else float
        value = min(max(value, self.first), self.last)
        return (turn(value) - turn(self.first)) / (turn(self.last) - turn(self.first))

    def text(self, value: float) -> str:
        """Write the label of a tick."""
        return f"{100 * value:g}" if self.percent else real(value)


@dataclass(frozen=True)
class Line:
    """One drawn series.

    Attributes:
        ring: the radius of the ring that a series of one dot is drawn as where that dot lies on those of others, so
            that all are seen; 0 for a filled dot, and for all longer series.
        dot: whether it is one dot, which needs no line.
    """

    name: str
    colour: str
    dashes: str
    path: str
    band: str
    marks: tuple[tuple[float, float], ...]
    ring: float = 0
    dot: bool = False


@dataclass(frozen=True)
class Chart:
    """A laid-out chart.

    Attributes:
        guide: the path of a dashed line to compare with; empty for none.
    """

    title: str
    x: Axis
    y: Axis
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    lines: tuple[Line, ...]
    guide: str
    guide_name: str


def chart(
    title: str, series: Sequence[tuple[str, Sequence[Point]]], x: Axis, y: Axis, *, marked: bool = True,
    guide: tuple[str, Sequence[tuple[float, float]]] = ("", ()),
) -> Chart:  # fmt: skip
    """Lay out series with their names; the points' intervals become a band.

    Args:
        title: says what is drawn, for readers who cannot see it.
        series: names and points.
        x: the horizontal axis.
        y: the vertical axis.
        marked: draw a dot at each point.
        guide: name and points of a line to compare with.
    """

    def place(at: tuple[float, float]) -> tuple[float, float]:
        base = HEIGHT - BOTTOM
        return LEFT + (WIDTH - LEFT - RIGHT) * x.share(at[0]), base - (base - TOP) * y.share(at[1])

    drawn: list[Line] = []
    for index, (name, points) in enumerate(series):
        upper = [place((point.x, point.high)) for point in points]
        lower = [place((point.x, point.low)) for point in reversed(points)]
        middle = [place((point.x, point.y)) for point in points]
        colour, dashes = _PALETTE[index % len(_PALETTE)], _DASHES[index % len(_DASHES)]
        marks, dot = tuple(middle) if marked else (), len(middle) == 1
        ring = _ring(marks[0], drawn) if dot and marks else 0
        drawn.append(Line(name, colour, dashes, _path(middle), _path(upper + lower), marks, ring, dot))
    return Chart(
        title=title,
        x=x,
        y=y,
        x_ticks=tuple((place((tick, y.first))[0], x.text(tick)) for tick in x.ticks),
        y_ticks=tuple((place((x.first, tick))[1], y.text(tick)) for tick in y.ticks),
        lines=tuple(drawn),
        guide=_path([place(at) for at in guide[1]]),
        guide_name=guide[0],
    )


def _ring(at: tuple[float, float], drawn: Sequence[Line]) -> float:
    """The radius of the ring for a dot: one more step outwards for each dot that lies there already; 0 for none."""
    there = sum(line.dot and math.dist(line.marks[0], at) < DOT for line in drawn if line.marks)
    return DOT + _RING_STEP * there if there else 0


def round_ticks(low: float, high: float, *, most: int = 5) -> tuple[float, ...]:
    """Choose ticks in round steps (1, 2 or 5 times a power of ten), from one at most `low` to one at least `high`.

    Args:
        low: the least value that is shown.
        high: the largest; above `low`.
        most: the largest number of steps from the first to the last; 4 or more.
    """
    size = 10.0 ** math.floor(math.log10((high - low) / most))
    grids = (
        (step := size * factor, math.floor(low / step + _ALMOST), math.ceil(high / step - _ALMOST))
        for factor in (1, 2, 5, 10, 20)
    )
    step, first, last = next(grid for grid in grids if grid[2] - grid[1] <= most)
    return tuple(step * place for place in range(first, last + 1))


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
