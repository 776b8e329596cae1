"""Level 3: complete search. The region is split until each part is proved or an input that breaks it is found.

Branch and bound (Bunel et al. 2018, 1711.00455): a part is bounded by intervals and by linear relaxation; the corner
at which its bound is lowest is tried on the deployed model. What neither proves nor breaks is split in two: by the
values of one input, or, where there are many inputs, at the bend of one staircase, whose sums are then known to lie on
one side of it. A part of few inputs is tried input by input, so that with enough time every sample is decided.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tritguard.certify.box import Bool, Box, Region
from tritguard.certify.lines import corners
from tritguard.certify.network import Network
from tritguard.certify.refinement import unstable
from tritguard.certify.relaxation import Relaxation
from tritguard.certify.stages import Sums
from tritguard.graph.model import Float64, Int8, Int64

Answer = Callable[[Int8], Int64]  # the deployed model's labels, int64[n], of int8[n, *input_shape]

_FEW_INPUTS = 16  # the most free elements of an input with which their values are split, not the staircases
_TRIED = 64  # the most inputs of a part with which all of them are tried
_LEAST_GAIN = 1e-6
_BATCH_WORK = 3e8  # multiply-accumulates between two looks at the clock


@dataclass(frozen=True)
class Limit:
    """When a search ends without an answer.

    Attributes:
        seconds: processor time of this process, for one sample.
        parts: the most parts that are looked at.
        batch: the most of them at a time; fewer for a large network, so that the time limit is kept.
    """

    seconds: float = 10.0
    parts: int = 100_000
    batch: int = 32


@dataclass(frozen=True, eq=False)
class Found:
    """The outcome of a search.

    Attributes:
        proved: whether no input of the region gives another label.
        counterexample: int8[*input_shape], one that does; None if none was found.
        parts: how many parts were looked at.
    """

    proved: bool
    counterexample: Int8 | None
    parts: int


@dataclass(frozen=True, eq=False)
class _Part:
    """A part of the region: boxes of one row, of the inputs and of the sums."""

    box: Box
    sums: dict[int, Box]


def search(network: Network, root: Relaxation, label: int, answer: Answer, limit: Limit) -> Found:
    """Split the region of one sample until it is proved, broken or given up.

    Args:
        network: the deployed network.
        root: the region with the bounds that are known of it.
        label: the label to prove.
        answer: asks the deployed model.
        limit: when to stop.
    """
    waiting = [_Part(root.region.box, dict(root.bounds.sums))]
    seen, end = 0, time.process_time() + limit.seconds
    size = max(1, min(limit.batch, int(_BATCH_WORK / (network.cost * network.decision.classes))))
    while waiting:
        if time.process_time() > end or seen >= limit.parts:
            return Found(False, None, seen)
        batch, waiting = waiting[-size:], waiting[:-size]
        seen += len(batch)
        bounded = _Bounded.of(network, root.region, batch, label)
        broken = bounded.broken(answer)
        if broken is not None:
            return Found(False, broken, seen)
        waiting += bounded.split()
    return Found(True, None, seen)


@dataclass(eq=False)
class _Bounded:
    """The parts that are not proved, with what is known of them.

    Attributes:
        region: the inputs of the parts.
        above: float64[n, m], see `Network.margins`.
        trace: see `Relaxation.least`.
    """

    network: Network
    label: int
    region: Region
    relaxation: Relaxation
    above: Float64
    trace: dict[int, Float64]

    @classmethod
    def of(cls, network: Network, root: Region, parts: list[_Part], label: int) -> _Bounded:
        box = _joined([part.box for part in parts])
        bounds = network.intervals(box, {out: _joined([part.sums[out] for part in parts]) for out in parts[0].sums})
        open_ = ~bounds.empty
        bounds, box = bounds.rows(open_), box.rows(open_)
        region = Region(box, np.repeat(root.clean, len(box.low), axis=0), root.ball)
        relaxation, trace = network.relaxed(region, bounds), dict[int, Float64]()
        if not len(box.low):
            return cls(network, label, region, relaxation, np.zeros((0, 1)), trace)
        above, proved = network.margins(relaxation, np.full(len(box.low), label), trace)
        rest = np.asarray(~proved.all(axis=1))
        above = np.where(proved, np.inf, above)
        relaxation = network.relaxed(region.rows(rest), bounds.rows(rest))
        return cls(
            network, label, region.rows(rest), relaxation, above[rest], {key: each[rest] for key, each in trace.items()}
        )

    @property
    def worst(self) -> Int64:
        """int64[n]: the objective that is furthest from being proved."""
        return np.asarray(self.above.argmin(axis=1), np.int64)

    def arrived(self, tensor: int) -> Float64:
        """float64[n, ...]: the slopes of the worst objective at a tensor; zeros where none arrived."""
        if tensor not in self.trace:
            return np.zeros_like(self.relaxation.bounds.boxes[tensor].low, np.float64)
        return self.trace[tensor][np.arange(len(self.above)), self.worst]

    def broken(self, answer: Answer) -> Int8 | None:
        """An input that gives another label, among the corners of the open parts and all inputs of small ones."""
        if not len(self.above):
            return None
        tried = [lowest_corner(self.region, self.arrived(self.network.source))]
        tried += [inputs for row in np.flatnonzero(self.small) for inputs in (self._all_inputs(int(row)),)]
        x = np.concatenate(tried)
        wrong = np.flatnonzero(answer(x) != self.label)
        return x[wrong[0]] if len(wrong) else None

    @property
    def small(self) -> Bool:
        """bool[n]: the parts whose inputs are tried one by one."""
        widths = (self.region.box.high - self.region.box.low + 1).astype(np.float64)
        several = tuple(range(1, widths.ndim))
        return np.asarray(np.log(widths).sum(axis=several) <= np.log(_TRIED) + 1e-9)

    def _all_inputs(self, row: int) -> Int8:
        """int8[k, *input_shape]: the inputs of a small part that the attacker may use."""
        low, high = (bound[row].ravel() for bound in (self.region.box.low, self.region.box.high))
        free = np.flatnonzero(low < high)
        grid = np.stack(np.meshgrid(*(np.arange(low[at], high[at] + 1) for at in free), indexing="ij"), axis=-1)
        points = np.repeat(low[None], max(1, int(np.prod(grid.shape[:-1]))), axis=0)
        if len(free):
            points[:, free] = grid.reshape(-1, len(free))
        x = points.reshape(-1, *self.network.input_shape).astype(np.int8)
        here = self.region.rows(slice(row, row + 1))
        distances = here.ball.distances(x, np.repeat(here.clean, len(x), axis=0))
        return x[distances <= here.ball.eps]

    def split(self) -> list[_Part]:
        """The halves of the parts that are still open."""
        return [half for row in np.flatnonzero(~self.small) for half in self._halves(int(row))]

    def _halves(self, row: int) -> Iterator[_Part]:
        box, bounds = self.region.box.rows(slice(row, row + 1)), self.relaxation.bounds.rows(slice(row, row + 1))
        free = int((box.low < box.high).sum())
        bend = None if free <= _FEW_INPUTS else self._bend(row)
        if bend is not None:
            output, place, at = bend
            for half in _cut(bounds.sums[output], place, at):
                yield _Part(box, {**bounds.sums, output: half})
            return
        slopes = np.abs(self.arrived(self.network.source)[row]).ravel() + 1e-12
        place = int((slopes * (box.high - box.low).ravel()).argmax())
        low, high = int(box.low.ravel()[place]), int(box.high.ravel()[place])
        for half in _cut(box, place, (low + high) // 2):
            yield _Part(half, dict(bounds.sums))

    def _bend(self, row: int) -> tuple[int, int, int] | None:
        """The stage, sum and value at which a split promises most; None if no staircase bends."""
        best: tuple[float, int, int, int] | None = None
        for stage in self.network.stages:
            if isinstance(stage, Sums) and stage.output in self.trace:
                gain, place, at = self._gain(stage, row)
                if gain > _LEAST_GAIN and (best is None or gain > best[0]):
                    best = gain, stage.output, place, at
        return None if best is None else best[1:]

    def _gain(self, stage: Sums, row: int) -> tuple[float, int, int]:
        """The most that a split of one of a stage's sums may gain, its place, and where to split it."""
        one = slice(row, row + 1)
        sums = self.relaxation.bounds.sums[stage.output].rows(one)
        outputs = self.relaxation.bounds.boxes[stage.output].rows(one).shaped(stage.summed)
        lines = self.relaxation.lines(stage)
        leaves, reaches = corners(stage.steps, sums, outputs)
        below = above = np.zeros(sums.low.shape)
        for end, output in (
            (sums.low, outputs.low),
            (leaves, outputs.low),
            (reaches, outputs.high),
            (sums.high, outputs.high),
        ):
            below = np.maximum(below, output - lines.low_slope[one] * end - lines.low_offset[one])
            above = np.maximum(above, lines.high_slope[one] * end + lines.high_offset[one] - output)
        slopes = self.arrived(stage.output)[row].reshape(sums.low.shape)
        gain = np.maximum(slopes, 0) * below - np.minimum(slopes, 0) * above
        gain = np.where(unstable(stage, sums, outputs), gain, 0)
        inner = [np.minimum(each - sums.low, sums.high - each) for each in (leaves, reaches)]
        bend = np.where(inner[0] >= inner[1], leaves, reaches)
        place = int(gain.argmax())
        low, high = int(sums.low.ravel()[place]), int(sums.high.ravel()[place])
        value = min(max(int(np.floor(bend.ravel()[place])), low), high - 1)
        return (float(gain.ravel()[place]) if low < high else 0.0), place, value


def lowest_corner(region: Region, slopes: Float64) -> Int8:
    """int8[n, *input_shape]: where functions with these slopes are lowest, on the grid and in the ball."""
    moved = region.clean - region.ball.eps * np.asarray(region.ball.geometry.steepest(slopes), np.float64)
    corner = np.where(slopes > 0, region.box.low, np.where(slopes < 0, region.box.high, region.clean))
    candidates = corner if region.ball.geometry.box else np.clip(moved, region.box.low, region.box.high)
    return region.ball.to_grid(candidates.astype(np.float64), region.clean)


def _joined(boxes: list[Box]) -> Box:
    return Box(np.concatenate([box.low for box in boxes]), np.concatenate([box.high for box in boxes]))


def _cut(box: Box, place: int, at: int) -> tuple[Box, Box]:
    """A box of one row, cut in two: the element at a flat place is at most `at` in one, and above it in the other."""
    high, low = box.high.copy(), box.low.copy()
    high.ravel()[place] = min(at, int(high.ravel()[place]))
    low.ravel()[place] = max(at + 1, int(low.ravel()[place]))
    return Box(box.low, high), Box(low, box.high)
