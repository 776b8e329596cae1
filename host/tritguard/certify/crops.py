"""The part of a network that one output pixel sees: its receptive field, stage by stage.

The sums of a convolution at one pixel depend on a few pixels of the tensor before, these on a few more of the one
before that. So a linear function of such sums can be taken back through crops of the tensors, which are far smaller
than the tensors as long as the receptive field is. Rows and columns are independent, so each is followed by itself.
Pixels whose crops have the same geometry, as all do that see no border, form a group: the same stages serve them all,
and they are bounded side by side. Where a stage has no pixels, or does not move a window over them, all of its input
is seen.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.certify.linear import Crop, Span
from tritguard.certify.stages import Stage, Sums
from tritguard.graph.model import Int64

Seen = dict[int, Span | None]  # by tensor, what is seen of it along one axis; None for everything


@dataclass(frozen=True, eq=False)
class Place:
    """Where the crops of a tensor lie, for each pixel of a group.

    Attributes:
        rows, columns: int64[pixels, size], the rows and columns of the tensor.
    """

    rows: Int64
    columns: Int64

    def of(self, whole: NDArray[Any], chosen: Int64) -> NDArray[Any]:
        """The crops of an array [1, height, width, ...] for some of the pixels: [n, rows, columns, ...]."""
        return np.asarray(whole[0][self.rows[chosen][:, :, None], self.columns[chosen][:, None, :]])


@dataclass(frozen=True, eq=False)
class Group:
    """Pixels of a stage's sums whose receptive fields have the same geometry.

    Attributes:
        pixels: int64[pixels], row * width + column.
        target: the stage, cropped to one pixel.
        before: the stages that it sees, cropped.
        places: by tensor, where its crops lie; a tensor that is seen as a whole is not in it.
        cost: multiply-accumulates to take one function of a pixel's sums back to the input.
        widest: how many numbers the largest crop holds.
    """

    pixels: Int64
    target: Sums
    before: tuple[Stage, ...]
    places: dict[int, Place]
    cost: int
    widest: int


@lru_cache(maxsize=256)
def groups_of(stages: tuple[Stage, ...], position: int) -> tuple[Group, ...] | None:
    """The groups of a stage's pixels; None if it has none, or each of them sees everything.

    Args:
        stages: the network's stages.
        position: the position of a stage of sums.
    """
    target = stages[position]
    if not isinstance(target, Sums) or target.seen(0, (0, 1)) is None:
        return None
    height, width = target.shape[:2]
    walks = [[_walk(stages, position, axis, at) for at in range(side)] for axis, side in enumerate((height, width))]
    alike = [_alike(stages[: position + 1], axis, walk) for axis, walk in enumerate(walks)]
    return tuple(
        _group(stages, position, (rows, columns), (walks[0], walks[1])) for rows in alike[0] for columns in alike[1]
    )


def _walk(stages: Sequence[Stage], position: int, axis: int, at: int) -> Seen:
    """What one row or column of a stage's output sees of each tensor; the stage's own output is in it too."""
    seen: Seen = {stages[position].output: (at, at + 1)}
    for stage in reversed(stages[: position + 1]):
        if stage.output not in seen:
            continue
        span = seen[stage.output]
        found = None if span is None else stage.seen(axis, span)
        if found is None:
            seen[stage.output] = None
        for tensor in stage.inputs:
            _join(seen, tensor, None if found is None else found[tensor])
    return seen


def _join(seen: Seen, tensor: int, span: Span | None) -> None:
    known = seen.get(tensor, span)
    seen[tensor] = None if known is None or span is None else (min(known[0], span[0]), max(known[1], span[1]))


def _alike(stages: Sequence[Stage], axis: int, walks: Sequence[Seen]) -> list[list[int]]:
    """The rows, or the columns, grouped by the geometry of the crops through which their walks lead."""
    found: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
    for at, seen in enumerate(walks):
        key = []
        for stage in stages:
            span = seen.get(stage.output)
            if span is not None:
                key.append((stage.output, *stage.geometry(axis, span, seen)))
        found[tuple(key)].append(at)
    return list(found.values())


def _group(
    stages: Sequence[Stage], position: int, pixels: tuple[list[int], list[int]],
    walks: tuple[Sequence[Seen], Sequence[Seen]],
) -> Group:  # fmt: skip
    width = stages[position].shape[1]
    first = tuple(walk[at[0]] for walk, at in zip(walks, pixels, strict=True))
    rows, columns = (each.ravel() for each in np.meshgrid(*pixels, indexing="ij"))
    crops = {
        tensor: Crop(span, other)
        for tensor, span in first[0].items()
        if span is not None and (other := first[1][tensor]) is not None
    }
    cropped = [
        stage.cropped(crops) if stage.output in crops else stage
        for stage in stages[: position + 1]
        if stage.output in first[0]
    ]
    target = cropped.pop()
    assert isinstance(target, Sums)
    own = stages[position].output
    places = {
        tensor: Place(_spans(walks[0], rows, tensor), _spans(walks[1], columns, tensor))
        for tensor in crops
        if tensor != own
    }
    linear = [stage for stage in (*cropped, target) if isinstance(stage, Sums)]
    widest = max(math.prod(term.map.in_shape) for stage in linear for term in stage.terms)
    cost = sum(stage.cost for stage in linear)
    return Group(rows * width + columns, target, tuple(cropped), places, cost, widest)


def _spans(walks: Sequence[Seen], pixels: Int64, tensor: int) -> Int64:
    return np.array([np.arange(*_known(walks[at][tensor])) for at in pixels.tolist()], np.int64)


def _known(span: Span | None) -> Span:
    assert span is not None, "pixels of one group see crops of the same tensors"
    return span


def parts(count: Int64, room: int) -> Iterator[Int64]:
    """Split rows into parts that fit, where each row of a part takes as much room as the largest of them.

    Args:
        count: int64[n], what each row takes.
        room: what a part may take.
    """
    order = np.argsort(-count, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, room // max(1, int(count[order[start]])))
        yield order[start : start + size]
        start += size
