"""The geometry of the report's drawings, in the units of their SVG view boxes; the templates draw them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tritguard.evaluate.robustness.figures import CurvePoint
from tritguard.evaluate.study import Rate

WIDTH = 400  # about the width of a phone, so that text keeps its size there
HEIGHT = 300
LEFT, RIGHT, TOP, BOTTOM = 46, 26, 22, 64
LABEL_ROOM = 40  # the distance that two eps labels need
BAR_HEIGHT = 34
# Fill and ink of bar segments. Neighbours differ in lightness too, and each has a number, so that nothing depends on
# colour alone.
FILLS = (
    ("#1b3a5c", "#ffffff"),
    ("#8fb8dc", "#10202f"),
    ("#3f6f4f", "#ffffff"),
    ("#e3c98d", "#10202f"),
    ("#6b4a7a", "#ffffff"),
    ("#d5dade", "#10202f"),
)


@dataclass(frozen=True)
class Mark:
    """One point of the curve."""

    x: float
    y: float
    eps_steps: int
    eps_input: float
    rate: Rate
    labelled: bool


@dataclass(frozen=True)
class Curve:
    """The robustness curve: marks from the clean point on, their line and interval band, guides and scale.

    Attributes:
        guides: y and percentage of each horizontal guide.
    """

    marks: tuple[Mark, ...]
    line: str
    band: str
    guides: tuple[tuple[float, int], ...]
    chance_y: float
    logarithmic: bool


def curve(clean: Rate, points: Sequence[CurvePoint], class_count: int) -> Curve:
    """Lay out clean accuracy at eps 0 and the worst case at each eps (rising, all positive)."""
    eps = [0, *(point.eps_steps for point in points)]
    inputs = [0.0, *(point.eps_input for point in points)]
    rates = [clean, *(point.robust for point in points)]
    x, logarithmic = _eps_axis(eps)
    marks: list[Mark] = []
    last_label = -math.inf
    for steps, unit, rate in zip(eps, inputs, rates, strict=True):
        labelled = x(steps) - last_label >= LABEL_ROOM
        last_label = x(steps) if labelled else last_label
        marks.append(Mark(x(steps), _y(rate.value), steps, unit, rate, labelled))
    upper = [(mark.x, _y(mark.rate.high)) for mark in marks]
    lower = [(mark.x, _y(mark.rate.low)) for mark in reversed(marks)]
    return Curve(
        marks=tuple(marks),
        line=_path([(mark.x, mark.y) for mark in marks]),
        band=_path(upper + lower),
        guides=tuple((_y(share / 100), share) for share in (0, 25, 50, 75, 100)),
        chance_y=_y(1 / max(1, class_count)),
        logarithmic=logarithmic,
    )


def _eps_axis(eps: Sequence[int]) -> tuple[Callable[[int], float], bool]:
    """Choose an axis: linear if every label has room, else log2(1 + eps), which spreads doublings and keeps 0."""
    length = WIDTH - LEFT - RIGHT
    largest = max(1, eps[-1])

    def linear(steps: int) -> float:
        return LEFT + length * steps / largest

    def logarithmic(steps: int) -> float:
        return LEFT + length * math.log2(1 + steps) / math.log2(1 + largest)

    crowded = any(linear(after) - linear(before) < LABEL_ROOM for before, after in pairwise(eps))
    return (logarithmic, True) if crowded else (linear, False)


def _y(share: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


@dataclass(frozen=True)
class Segment:
    """One part of a stacked bar; `number` is that of its row in the table beside it."""

    number: int
    name: str
    amount: int
    share: float
    x: float
    width: float
    fill: str
    ink: str

    @property
    def has_room(self) -> bool:
        """Whether its number fits inside it."""
        return self.width >= 18


def stacked_bar(parts: Mapping[str, int]) -> tuple[Segment, ...]:
    """Lay out the parts of a whole, end to end over the full width."""
    total = sum(parts.values()) or 1
    segments: list[Segment] = []
    x = 0.0
    for index, (name, amount) in enumerate(parts.items()):
        width = WIDTH * amount / total
        fill, ink = FILLS[index % len(FILLS)]
        segments.append(Segment(index + 1, name, amount, amount / total, x, width, fill, ink))
        x += width
    return tuple(segments)
