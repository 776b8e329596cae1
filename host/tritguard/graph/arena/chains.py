"""Which layers are computed in stripes: chains that lower the arena's peak, with the planner as the judge.

The arena is as large as the step that needs most, so a chain has to hold that step; what other steps need stays as it
was. The chain that itself needs least is taken, then the search looks at the next peak, and in the end keeps the
chains up to the last that was worth it. Then stripes grow as tall as they can for an arena that is worth it no less:
fewer calls, smaller tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tritguard.graph.arena.memory import MemoryPlan, memory_needs, plan_memory
from tritguard.graph.arena.stripes import Chain, chain_of, may_stripe
from tritguard.graph.formats.kernel import Kernel
from tritguard.graph.model import Graph

LEAST_SAVED = 0.05  # of the arena, by every chain
LEAST_BYTES = 1024  # by every chain: its loop and tables take some hundred bytes of flash
MOST_MACS = 0.05  # of the model's, in excess, by all chains
_LONGEST = 12  # layers
_CLOSE = 0.02  # needs as good as equal: the shorter chain is taken


def plan_striped(graph: Graph, kernels: Mapping[int, Kernel]) -> MemoryPlan:
    """The memory plan with the chains that pay; without any where none does. Arguments as `plan_memory`'s."""
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
    """One more chain, or a longer one, that lowers the peak as far as one can; None where none does."""
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
    """Chains of two layers or more that hold a step."""
    for first in range(max(0, peak[-1] + 1 - _LONGEST), peak[0] + 1):
        for last in range(max(peak[-1], first + 1), min(first + _LONGEST, len(graph.ops))):
            if may_stripe(graph, kernels, first, last):
                yield first, last


def _excess(kernels: Mapping[int, Kernel], chain: Chain) -> int:
    """Multiply-accumulates in excess, and the cycles in which stripes after the first decode the same weights again."""
    decoding = sum(kernels[at].decoding for at in range(chain.first, chain.last + 1) if at in kernels)
    return chain.macs + (chain.count - 1) * decoding


def _lowest(graph: Graph, kernels: Mapping[int, Kernel], first: int, last: int, macs: float) -> Chain | None:
    """The chain with the lowest stripes that cost no more than so many multiply-accumulates."""
    rows = graph.tensors[graph.ops[last].output].shape[0]
    for height in range(1, rows // 2 + 1):
        chain = chain_of(graph, first, last, height)
        if chain is None or _excess(kernels, chain) <= macs:
            return chain
    return None


def _taller(graph: Graph, kernels: Mapping[int, Kernel], plan: MemoryPlan, chain: Chain, most: int) -> MemoryPlan:
    """The plan with as few stripes in one of its chains as leave an arena of `most` bytes."""
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
