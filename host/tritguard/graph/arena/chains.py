"""The choice of layers that run in stripes: chains that lower the arena's peak, as judged by the memory planner.

The arena is as large as the step that needs most, so a chain must contain that step; the needs of other steps do not
change. The search takes the chain that needs least, moves on to the next peak, and in the end keeps the chains up to
the last one that was worth it. Then stripes are made as tall as an arena that is still worth it allows, because taller
stripes mean fewer calls and smaller tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tritguard.graph.arena.memory import MemoryPlan, memory_needs, plan_memory
from tritguard.graph.arena.stripes import Chain, chain_of, may_stripe
from tritguard.graph.formats.kernel import Kernel
from tritguard.graph.model import Graph

LEAST_SAVED = 0.05  # share of the arena that every chain must save
LEAST_BYTES = 1024  # bytes that every chain must save: its loop and tables take a few hundred bytes of flash
MOST_MACS = 0.05  # share of the model's multiply-accumulates that all chains together may add
_LONGEST = 12  # layers in a chain
_CLOSE = 0.02  # needs this close count as equal, and the shorter chain is taken


def plan_striped(graph: Graph, kernels: Mapping[int, Kernel]) -> MemoryPlan:
    """The memory plan with the chains that are worth it, which may be none. Arguments as for `plan_memory`."""
    plan = whole = plan_memory(graph, kernels)
    chains = _lowered(graph, kernels, ())
    while chains is not None:
        lower = plan_memory(graph, kernels, chains)
        if plan.arena_bytes - lower.arena_bytes >= max(LEAST_BYTES, LEAST_SAVED * plan.arena_bytes):
            plan = lower
        chains = _lowered(graph, kernels, chains)
    most = plan.arena_bytes + int(LEAST_SAVED * whole.arena_bytes)
    for chain in plan.chains:
        plan = _taller(graph, kernels, plan, chain, most)
    return replace(plan, whole_layers=whole.arena_bytes)


def _lowered(graph: Graph, kernels: Mapping[int, Kernel], chains: tuple[Chain, ...]) -> tuple[Chain, ...] | None:
    """The chains with one added or lengthened so that the peak falls as far as possible; None if nothing lowers it."""
    needs = memory_needs(graph, kernels, chains)
    peak = max(needs, key=needs.__getitem__)
    found = []
    for first, last in _around(graph, kernels, peak):
        kept = tuple(chain for chain in chains if chain.last < first or last < chain.first)
        if any(chain.first < first or last < chain.last for chain in chains if chain not in kept):
            continue
        rest = graph.macs * MOST_MACS - sum(_excess(kernels, chain) for chain in kept)
        chain = _lowest(graph, kernels, first, last, rest)
        if chain is None:
            continue
        tried = tuple(sorted((*kept, chain), key=lambda each: each.first))
        need = memory_needs(graph, kernels, tried)[range(first, last + 1)]
        if need < needs[peak]:
            found.append((need, last - first, tried))
    least = min((need for need, _, _ in found), default=0)
    close = [each for each in found if each[0] <= least * (1 + _CLOSE)]
    return min(close, key=lambda each: each[1::-1], default=(0, 0, None))[2]


def _around(graph: Graph, kernels: Mapping[int, Kernel], peak: range) -> Iterator[tuple[int, int]]:
    """First and last layer of every possible chain, of two layers or more, that contains a step."""
    for first in range(max(0, peak[-1] + 1 - _LONGEST), peak[0] + 1):
        for last in range(max(peak[-1], first + 1), min(first + _LONGEST, len(graph.ops))):
            if may_stripe(graph, kernels, first, last):
                yield first, last


def _excess(kernels: Mapping[int, Kernel], chain: Chain) -> int:
    """The multiply-accumulates that a chain adds, plus the cycles in which later stripes decode weights again."""
    decoding = sum(kernels[at].decoding for at in range(chain.first, chain.last + 1) if at in kernels)
    return chain.macs + (chain.count - 1) * decoding


def _lowest(graph: Graph, kernels: Mapping[int, Kernel], first: int, last: int, macs: float) -> Chain | None:
    """The chain with the lowest stripes that add at most `macs` multiply-accumulates."""
    rows = graph.tensors[graph.ops[last].output].shape[0]
    for height in range(1, rows // 2 + 1):
        chain = chain_of(graph, first, last, height)
        if chain is None or _excess(kernels, chain) <= macs:
            return chain
    return None


def _taller(graph: Graph, kernels: Mapping[int, Kernel], plan: MemoryPlan, chain: Chain, most: int) -> MemoryPlan:
    """The plan with as few stripes in one of its chains as an arena of at most `most` bytes allows."""
    rows = graph.tensors[graph.ops[chain.last].output].shape[0]
    for count in range(2, chain.count):
        other = chain_of(graph, chain.first, chain.last, -(-rows // count))
        if other is None or _excess(kernels, other) > _excess(kernels, chain):
            continue
        chains = tuple(other if each is chain else each for each in plan.chains)
        if max(memory_needs(graph, kernels, chains).values()) <= most:
            taller = plan_memory(graph, kernels, chains)
            if taller.arena_bytes <= most:
                return taller
    return plan
