"""Bounds of a network's sums that linear relaxation itself improves, layer by layer, before the decision is bounded.

Where a staircase bends, the lines around it are the better the closer the bounds of its sums are. So the sums of each
stage are bounded by relaxation through the stages before it (Zhang et al. 2018, 1811.00866; Singh et al. 2019), but
only those that bend, and each from the crops of the tensors that its pixel sees (`crops`). That is most of the work,
and all of it can be left out: bounds that were not improved are those of intervals, which are sound too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.certify.box import Bool, Box, Region
from tritguard.certify.crops import Group, Place, groups_of, parts
from tritguard.certify.intervals import Bounds
from tritguard.certify.lines import Lines
from tritguard.certify.relaxation import Form, Relaxation, add_sums
from tritguard.certify.stages import Bounded, Largest, Moved, Stage, Sums, Tabled
from tritguard.graph.model import Int64

Array = NDArray[Any]


@dataclass(frozen=True)
class Effort:
    """How much may be spent on a sample.

    Attributes:
        work: multiply-accumulates for tighter bounds of the sums of one stage; a stage that would take more keeps the
            bounds of intervals.
        seconds: processor time of this process, with the threads of NumPy's linear algebra, for tighter bounds of all
            stages; the stages that are left then keep the bounds of intervals. Results therefore depend on the speed of
            the machine, but hardly on its load. None for no limit.
        room: how many numbers the slopes of one tensor may have at a time.
    """

    work: float = 2e9
    seconds: float | None = None
    room: int = 1 << 19


@dataclass(frozen=True)
class _Clock:
    end: float | None

    @property
    def over(self) -> bool:
        return self.end is not None and time.process_time() > self.end


def refine(stages: tuple[Stage, ...], source: int, region: Region, effort: Effort) -> Relaxation:
    """Bound every tensor and every sum of one region, with linear relaxation where a staircase bends.

    Args:
        stages: the graph's stages.
        source: its input tensor.
        region: the region of one sample.
        effort: what may be spent.
    """
    boxes, sums = {source: region.box}, dict[int, Box]()
    relaxation = Relaxation(stages, source, region, Bounds(boxes, sums))
    clock = _Clock(None if effort.seconds is None else time.process_time() + effort.seconds)
    bent, first = read_bent(stages), True
    for position, stage in enumerate(stages):
        if isinstance(stage, Sums):
            found = stage.sums(boxes)
            where = np.flatnonzero(unstable(stage, found, stage.stepped(found), stage.output in bent))
            if len(where) and not (first and region.ball.geometry.box):  # there the intervals are exact
                found = tightened(relaxation, position, found, where, effort, clock)
            sums[stage.output], boxes[stage.output] = found, stage.stepped(found)
            first = False
        else:
            boxes[stage.output] = stage.bounds(boxes)
    return relaxation


def unstable(stage: Sums, sums: Box, outputs: Box, bent: bool = False) -> Bool:
    """Where tighter bounds of sums help, bool[n, *summed].

    They help where the staircase bends between the bounds, or everywhere if what reads the outputs is bent.
    """
    raw = [np.asarray(end * stage.steps.slope + stage.steps.offset) for end in (sums.low, sums.high)]
    bends = (raw[0] < stage.steps.low - 1) | (raw[1] > stage.steps.high + 1) | bent
    return np.asarray(bends & (outputs.low < outputs.high).reshape(sums.low.shape) & stage.steps.fits(sums))


def read_bent(stages: Sequence[Stage]) -> set[int]:
    """The tensors read, directly or after a move, by a stage that is neither linear nor a staircase of sums."""
    found: set[int] = set()
    for stage in reversed(stages):
        if isinstance(stage, Tabled | Largest | Bounded) or (isinstance(stage, Moved) and stage.output in found):
            found |= set(stage.inputs)
    return found


def tightened(relaxation: Relaxation, position: int, sums: Box, chosen: Int64, effort: Effort, clock: _Clock) -> Box:
    """Better bounds of some of a stage's sums, for one region.

    Args:
        relaxation: the relaxation of one region, with bounds of everything before the stage.
        position: the stage's position.
        sums: the bounds that are known, int64[1, *summed].
        chosen: int64[k], the flat places of the sums.
        effort: what may be spent; a stage that would take more work is left as it is.
        clock: when to stop.
    """
    groups = groups_of(tuple(relaxation.stages), position)
    low, high = sums.low.copy().ravel(), sums.high.copy().ravel()
    found = (
        _everywhere(relaxation, position, chosen, effort)
        if groups is None
        else _by_pixel(relaxation, groups, chosen, sums.low.shape[-1], effort)
    )
    for places, below, above in found:
        low[places], high[places] = np.maximum(low[places], below), np.minimum(high[places], above)
        if clock.over:
            break
    return Box(low.reshape(sums.low.shape), high.reshape(sums.high.shape))


Tighter = Iterator[tuple[Int64, Int64, Int64]]  # places of sums, and their lower and upper bounds


def _everywhere(relaxation: Relaxation, position: int, chosen: Int64, effort: Effort) -> Tighter:
    """Bounds of sums that are made of whole tensors."""
    before, stage = relaxation.stages[:position], relaxation.stages[position]
    assert isinstance(stage, Sums)
    cost = stage.cost + sum(each.cost for each in before if isinstance(each, Sums))
    if 2 * len(chosen) * cost > effort.work:
        return
    widest = max(box.low[0].size for box in relaxation.bounds.boxes.values())
    for part in np.array_split(chosen, max(1, -(-2 * len(chosen) * widest // effort.room))):
        yield (part, *_bounded(relaxation, position, stage, part[None]))


def _by_pixel(relaxation: Relaxation, groups: Sequence[Group], chosen: Int64, channels: int, effort: Effort) -> Tighter:
    """Bounds of the sums of pixels from the crops that the pixels see."""
    count = np.bincount(chosen // channels, minlength=sum(len(group.pixels) for group in groups))
    if sum(2 * group.cost * int(count[group.pixels].sum()) for group in groups) > effort.work:
        return
    starts = np.concatenate([[0], np.cumsum(count)])
    for group in groups:
        own = np.flatnonzero(count[group.pixels])
        for rows in parts(2 * group.widest * count[group.pixels[own]], effort.room):
            pixels = group.pixels[own[rows]]
            # Pixels with fewer sums to bound than the first one repeat their last.
            nth = np.minimum(np.arange(count[pixels[0]]), count[pixels][:, None] - 1)
            sums = chosen[starts[pixels][:, None] + nth]
            cropped = _cropped(relaxation, group, own[rows])
            yield (sums.ravel(), *_bounded(cropped, len(group.before), group.target, sums % channels))


def _bounded(relaxation: Relaxation, end: int, stage: Sums, places: Int64) -> tuple[Int64, Int64]:
    """Lower and upper bounds, int64[n * k], of some of a stage's sums, flat places int64[n, k], for n regions."""
    n, k = places.shape
    one_hot = np.zeros((n, 2 * k, int(np.prod(stage.summed))))
    rows, columns = np.arange(n)[:, None], np.arange(k)
    one_hot[rows, columns, places], one_hot[rows, k + columns, places] = 1, -1
    form = Form({}, np.zeros((n, 2 * k)), np.zeros((n, 2 * k)))
    add_sums(stage, one_hot.reshape(n, 2 * k, *stage.summed), form)
    found = np.ceil(relaxation.least(form, end)).astype(np.int64)
    return found[:, :k].ravel(), -found[:, k:].ravel()


def _cropped(relaxation: Relaxation, group: Group, chosen: Int64) -> Relaxation:
    """The relaxation of the crops that some of a group's pixels see, one region each.

    The part of a ball that lies in a crop is a ball of the same radius: no distance grows where elements are left out.
    """
    bounds, region, places = relaxation.bounds, relaxation.region, group.places
    boxes = _Cropped(bounds.boxes, places, chosen)
    around = Region(boxes[relaxation.source], _crop(region.clean, places.get(relaxation.source), chosen), region.ball)
    cropped = Relaxation(group.before, relaxation.source, around, Bounds(boxes, _Cropped(bounds.sums, places, chosen)))
    seen = {stage.output for stage in group.before}
    for stage in relaxation.stages:
        if stage.output in seen and isinstance(stage, Sums | Tabled):
            lines = relaxation.lines(stage)
            each = (_crop(getattr(lines, one.name), places.get(stage.output), chosen) for one in fields(Lines))
            cropped.known_lines[stage.output] = Lines(*each)
    return cropped


def _crop(whole: Array, place: Place | None, chosen: Int64) -> Array:
    """An array [1, ...] for each of some pixels: its crops, or itself."""
    return np.broadcast_to(whole, (len(chosen), *whole.shape[1:])) if place is None else place.of(whole, chosen)


class _Cropped(Mapping[int, Box]):
    """The boxes of one region, cropped for some pixels when they are asked for."""

    def __init__(self, of: Mapping[int, Box], places: Mapping[int, Place], chosen: Int64) -> None:
        self._of, self._places, self._chosen = of, places, chosen
        self._made: dict[int, Box] = {}

    @override
    def __getitem__(self, tensor: int) -> Box:
        if tensor not in self._made:
            box, place = self._of[tensor], self._places.get(tensor)
            self._made[tensor] = Box(*(_crop(end, place, self._chosen) for end in (box.low, box.high)))
        return self._made[tensor]

    @override
    def __iter__(self) -> Iterator[int]:
        return iter(self._of)

    @override
    def __len__(self) -> int:
        return len(self._of)
