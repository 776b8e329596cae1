"""Where every activation lives: the caller's input and output buffers, or a slot of the static arena.

A slot is planned at compile time. Tensors that only differ in shape share one; a slot is free for others outside
the span of layers from its first writer to its last reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tritguard.graph.model import Graph, Reshape

ALIGNMENT = 4


@dataclass(frozen=True)
class Slot:
    """Bytes [offset, offset + size) of the arena during layers first..last (positions, inclusive).

    One without tensors is a kernel's scratch.
    """

    tensors: tuple[int, ...]
    offset: int
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class MemoryPlan:
    """The arena and the place of each tensor in it."""

    slots: tuple[Slot, ...]
    arena_bytes: int
    lower_bound: int  # the most bytes alive in one layer: no plan without in-place kernels needs fewer
    _place: dict[int, Slot | Literal["input", "output"]]
    scratch: Mapping[int, Slot]  # by the layer's position

    def place(self, tensor: int) -> Slot | Literal["input", "output"]:
        """Where a tensor lives."""
        return self._place[tensor]


def plan_memory(graph: Graph, scratch: Mapping[int, int] | None = None) -> MemoryPlan:
    """Plan by size, greatest first, each at the lowest offset that no slot alive at the same time covers.

    Args:
        graph: the model.
        scratch: bytes that a layer's kernel needs while it runs, by the layer's position.
    """
    groups = _shared_storage(graph)
    spans = [_span(graph, group) for group in groups.values()]
    place: dict[int, Slot | Literal["input", "output"]] = {}
    placed: list[Slot] = []
    order = sorted(zip(groups.values(), spans, strict=True), key=lambda item: (-_size(graph, item[0]), item[1]))
    for group, (first, last) in order:
        if graph.output in group or graph.input in group:
            where: Literal["input", "output"] = "input" if graph.input in group else "output"
            place.update(dict.fromkeys(group, where))
            continue
        size = _size(graph, group)
        slot = Slot(group, _lowest_offset(placed, size, first, last), size, first, last)
        placed.append(slot)
        place.update(dict.fromkeys(group, slot))
    working: dict[int, Slot] = {}
    for position, size in (scratch or {}).items():
        if size:
            working[position] = Slot((), _lowest_offset(placed, size, position, position), size, position, position)
            placed.append(working[position])
    arena = max((slot.offset + slot.size for slot in placed), default=0)
    alive = (
        sum(-(-slot.size // ALIGNMENT) * ALIGNMENT for slot in placed if slot.first <= position <= slot.last)
        for position in range(len(graph.ops))
    )
    slots = tuple(sorted(placed, key=lambda slot: (slot.first, slot.offset)))
    return MemoryPlan(slots, -(-arena // ALIGNMENT) * ALIGNMENT, max(alive, default=0), place, working)


def _shared_storage(graph: Graph) -> dict[int, tuple[int, ...]]:
    """Tensors joined by reshapes, keyed by the first. One from input to output has to copy, so it joins nothing."""
    root = {tensor: tensor for tensor in graph.tensors}
    for op in graph.ops:
        if isinstance(op, Reshape):
            source = root[op.inputs[0]]
            if not (source == root[graph.input] and op.output == graph.output):
                root[op.output] = source
    groups: dict[int, tuple[int, ...]] = {}
    for tensor, first in root.items():
        groups[first] = (*groups.get(first, ()), tensor)
    return groups


def _size(graph: Graph, group: tuple[int, ...]) -> int:
    return graph.tensors[group[0]].size


def _span(graph: Graph, group: tuple[int, ...]) -> tuple[int, int]:
    touched = [i for i, op in enumerate(graph.ops) if op.output in group or any(t in group for t in op.inputs)]
    return min(touched, default=0), max(touched, default=0)


def _lowest_offset(placed: list[Slot], size: int, first: int, last: int) -> int:
    rivals = sorted((s for s in placed if s.first <= last and first <= s.last), key=lambda slot: slot.offset)
    offset = 0
    for rival in rivals:
        if offset + size <= rival.offset:
            break
        offset = max(offset, -(-(rival.offset + rival.size) // ALIGNMENT) * ALIGNMENT)
    return offset
