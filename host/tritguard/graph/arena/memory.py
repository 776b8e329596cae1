"""The place of every activation: in the caller's input or output buffer, or in a slot of the static arena.

Slots are planned at compile time. Tensors that differ only in shape share a slot, and its bytes are free for others
before its first writer and after its last reader. Within one layer, an output may overlap an input that dies there if
it starts as far before it as the kernel's order of reading and writing demands (`graph/arena/access.py`).

Time is counted in steps. A step is a layer, or a chain of layers computed in stripes of rows
(`graph/arena/stripes.py`), whose inner tensors have memory for a few rows only and whose scratch is shared.

The input can have a place in the arena, too, for callers that receive it there instead of in a buffer of their own
(`place_input`): it lies where the first layers leave room, and only they need it to be there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from tritguard.graph.arena.access import lead
from tritguard.graph.arena.placement import Block, Received, aligned, pack, repack
from tritguard.graph.arena.stripes import Chain, chain_lead
from tritguard.graph.formats.kernel import Kernel, scratch_sizes
from tritguard.graph.model import Graph, Reshape
from tritguard.graph.stateful import Assign

# What a firmware receives at the input's place: a packet has a header in front of its payload and a CRC behind it, and
# some requests are longer than small inputs are (firmware/protocol.h, firmware/commands.h).
PACKET_HEADER_BYTES = 8
PACKET_CRC_BYTES = 4
_LOOSE, _LOOSE_BYTES = 0.02, 1024  # a plan above the bound by this share of it and by this many bytes is packed again
LEAST_PACKET_BYTES = PACKET_HEADER_BYTES + 256 + PACKET_CRC_BYTES


@dataclass(frozen=True)
class Overlap:
    """An output's slot over the slot of an input that dies in the same step: safe, because `distance` >= `lead`."""

    input: int  # tensor
    lead: int  # bytes by which the kernel needs its output to start before this input
    distance: int  # bytes by which it does


@dataclass(frozen=True)
class Slot:
    """Bytes [offset, offset + size) of the arena during layers first..last (positions, inclusive)."""

    tensors: tuple[int, ...]  # empty for a kernel's scratch
    offset: int
    size: int
    first: int
    last: int
    overlaps: tuple[Overlap, ...] = ()


@dataclass(frozen=True)
class InputPlace:
    """Where the input lies if it is received in the arena, which then has more bytes.

    Attributes:
        offset: the input's offset in bytes; at least the size of a packet's header.
        room: the bytes of the arena, including the input and the packet around it.
    """

    offset: int
    room: int


@dataclass(frozen=True)
class MemoryPlan:
    """The arena, and the place in it of each tensor and of each kernel's scratch."""

    slots: tuple[Slot, ...]
    arena_bytes: int
    lower_bound: int  # no plan with these kernels needs fewer bytes, see `_needs`
    _place: dict[int, Slot | str]
    scratch: Mapping[int, Slot]  # by the layer's position
    chains: tuple[Chain, ...]
    whole_layers: int  # the arena's bytes if no layer is computed in stripes
    input: InputPlace | None = None  # None if the model has several inputs, or before `place_input`

    def chain(self, position: int) -> Chain | None:
        """The chain that the layer at a position belongs to, if any."""
        return next((chain for chain in self.chains if chain.first <= position <= chain.last), None)

    def place(self, tensor: int) -> Slot | str:
        """The place of a tensor: a slot of the arena, or the name of the caller's buffer."""
        return self._place[tensor]


@dataclass(frozen=True)
class _Problem:
    """The blocks to place, and the pairs of them that may overlap."""

    steps: list[range]  # the positions in each step; blocks live from a first to a last step
    blocks: list[Block]
    groups: list[tuple[int, ...]]  # each block's tensors, empty for scratch
    leads: dict[tuple[int, int], int]  # (input's block, output's block)


def plan_memory(graph: Graph, kernels: Mapping[int, Kernel], chains: tuple[Chain, ...] = ()) -> MemoryPlan:
    """Give every activation and every kernel's scratch a place.

    Args:
        graph: the ops in the order in which they run.
        kernels: the kernels of the layers with weights, by position; their scratch and order of access count.
        chains: layers computed in stripes; no two chains share a layer.
    """
    problem, place = _problem(graph, kernels, chains)
    bound = max(_needs(problem), default=0)
    offsets, arena = pack(problem.blocks, problem.leads, enough=bound)
    return _plan(problem, place, offsets, MemoryPlan((), arena, bound, {}, {}, chains, arena))


def tighten(graph: Graph, kernels: Mapping[int, Kernel], plan: MemoryPlan) -> MemoryPlan:
    """The same plan, packed again with more effort if it is far above the lower bound.

    Args:
        graph, kernels: as for `plan_memory`.
        plan: what `plan_memory` made of them.
    """
    if plan.arena_bytes - plan.lower_bound < max(_LOOSE_BYTES, _LOOSE * plan.lower_bound):
        return plan
    problem, place = _problem(graph, kernels, plan.chains)
    offsets, arena = repack(problem.blocks, problem.leads, _known(problem, plan), plan.lower_bound)
    whole = plan.whole_layers if plan.chains else arena
    return _plan(problem, place, offsets, replace(plan, arena_bytes=arena, whole_layers=whole))


def _known(problem: _Problem, plan: MemoryPlan) -> tuple[int, ...]:
    """The offset of each block in a plan; 0 for blocks that it does not have."""
    known = {slot.tensors or slot.first: slot.offset for slot in plan.slots}
    return tuple(
        known.get(group or problem.steps[each.first][0], 0)
        for group, each in zip(problem.groups, problem.blocks, strict=True)
    )


def place_input(graph: Graph, kernels: Mapping[int, Kernel], plan: MemoryPlan) -> MemoryPlan:
    """The same plan with a place for the input, which may move other slots but never needs a larger arena for them.

    Args:
        graph, kernels: as for `plan_memory`.
        plan: what `plan_memory` made of them.
    """
    if graph.further_inputs:
        return plan
    apart, place = _problem(graph, kernels, plan.chains)
    problem, _ = _problem(graph, kernels, plan.chains, received=True)
    (block,) = (i for i, group in enumerate(problem.groups) if graph.input in group)
    received = Received(block, PACKET_HEADER_BYTES, PACKET_CRC_BYTES, plan.arena_bytes, _known(problem, plan))
    # A few bytes above the bound are acceptable: a search for them would move the other slots for nothing.
    enough = max(plan.arena_bytes, max(_needs(problem)) + PACKET_HEADER_BYTES + PACKET_CRC_BYTES)
    offsets, room = pack(problem.blocks, problem.leads, enough, received)
    offset = offsets[block]
    room = max(room, offset - PACKET_HEADER_BYTES + LEAST_PACKET_BYTES)
    others = tuple(at for i, at in enumerate(offsets) if i != block)
    return replace(_plan(apart, place, others, plan), input=InputPlace(offset, room))


def _plan(problem: _Problem, place: Mapping[int, Slot | str], offsets: tuple[int, ...], plan: MemoryPlan) -> MemoryPlan:
    """A plan with its slots at other offsets."""
    slots = [_slot(problem, offsets, i) for i in range(len(offsets))]
    placed = {**place, **{tensor: slot for slot in slots for tensor in slot.tensors}}
    scratches = {position: slot for slot in slots if not slot.tensors for position in range(slot.first, slot.last + 1)}
    slots.sort(key=lambda slot: (slot.first, slot.offset))
    return replace(plan, slots=tuple(slots), _place=placed, scratch=scratches)


def memory_needs(graph: Graph, kernels: Mapping[int, Kernel], chains: tuple[Chain, ...]) -> dict[range, int]:
    """The bytes that each step needs at once, by the positions of its layers; no arena is smaller than the largest."""
    problem, _ = _problem(graph, kernels, chains)
    return dict(zip(problem.steps, _needs(problem), strict=True))


def state_offsets(graph: Graph) -> tuple[int, ...]:
    """Where each state begins in the memory that outlives an inference, in bytes."""
    sizes = [aligned(state.initial.size) for state in graph.states]
    return tuple(sum(sizes[:at]) for at in range(len(sizes)))


def state_bytes(graph: Graph) -> int:
    """The memory that outlives an inference, in bytes."""
    return sum(aligned(state.initial.size) for state in graph.states)


def _edge(graph: Graph, group: tuple[int, ...]) -> str | None:
    """The C name of the caller's buffer or of the state that a group of tensors lives in; None if in the arena."""
    for state, offset in zip(graph.states, state_offsets(graph), strict=True):
        if state.before in group or state.after in group:
            return f"tg_state + {offset}" if offset else "tg_state"
    for name, edges in (("input", graph.inputs), ("output", graph.outputs)):
        for number, tensor in enumerate(edges):
            if tensor in group:
                return f"{name}[{number}]" if len(edges) > 1 else name
    return None


def _shared_storage(graph: Graph, kernels: Mapping[int, Kernel], steps: list[range]) -> list[tuple[int, ...]]:
    """Groups of tensors that share memory, joined by reshapes, by kernels that write a channel where they read it, and
    by assignments to states.

    A reshape from the model's input or a state to its output has to copy and joins nothing. A kernel joins its output
    only to tensors that are not read again. What is assigned to a state is computed in the state's memory, if the last
    read of the old value comes first.
    """
    fixed = {*graph.given, *graph.left}
    step_of = {position: number for number, step in enumerate(steps) for position in step}
    last_read = {tensor: position for position, op in enumerate(graph.ops) for tensor in op.inputs}
    root = {tensor: tensor for tensor in graph.tensors}
    for position, op in enumerate(graph.ops):
        source = root[op.inputs[0]]
        if isinstance(op, Reshape):
            edges = {tensor for tensor, first in root.items() if first == source} & fixed
            joined = not (op.output in graph.outputs and edges)
        elif isinstance(op, Assign):
            group = {tensor for tensor, first in root.items() if first == source}
            before = next(state.before for state in graph.states if state.after == op.output)
            old = {tensor for tensor, first in root.items() if first == root[before]}
            read = max((step_of[at] for at, each in enumerate(graph.ops) if old.intersection(each.inputs)), default=-1)
            joined = not group & fixed and read < min(step_of[graph.producers[tensor]] for tensor in group)
        else:
            group = {tensor for tensor, first in root.items() if first == source}
            joined = (
                position in kernels
                and kernels[position].order == "channels"
                and graph.tensors[op.output].shape == graph.tensors[op.inputs[0]].shape
                and all(last_read.get(tensor, -1) <= position for tensor in group)
                and not fixed & {*group, op.output}
            )
        if joined:
            root[op.output] = source
    groups: dict[int, tuple[int, ...]] = {}
    for tensor, first in root.items():
        groups[first] = (*groups.get(first, ()), tensor)
    return list(groups.values())


def _problem(
    graph: Graph, kernels: Mapping[int, Kernel], chains: tuple[Chain, ...], *, received: bool = False
) -> tuple[_Problem, dict[int, Slot | str]]:
    """The blocks to place in the arena, and the places of the tensors that live in the caller's buffers.

    received: whether the input is a block instead of lying in the caller's buffer.
    """
    place: dict[int, Slot | str] = {}
    groups = []
    steps = _steps(len(graph.ops), chains)
    for group in _shared_storage(graph, kernels, steps):
        edge = None if received and graph.input in group else _edge(graph, group)
        if edge is not None:
            place |= dict.fromkeys(group, edge)
        else:
            groups.append(group)
    buffers = {tensor: bytes_ for chain in chains for tensor, bytes_ in chain.buffers.items()}
    blocks = [
        Block(buffers.get(group[0], graph.tensors[group[0]].bytes), *_span(graph, steps, group)) for group in groups
    ]
    leads = _leads(graph, kernels, chains, steps, blocks, groups)
    sizes = scratch_sizes(graph, kernels)
    needs = [max(sizes.get(position, 0) for position in step) for step in steps]
    scratch = [Block(size, number, number) for number, size in enumerate(needs) if size]
    return _Problem(steps, [*blocks, *scratch], [*groups, *[()] * len(scratch)], leads), place


def _steps(layers: int, chains: tuple[Chain, ...]) -> list[range]:
    starts = set(range(layers)) - {at for chain in chains for at in range(chain.first + 1, chain.last + 1)}
    bounds = [*sorted(starts), layers]
    return [range(start, end) for start, end in pairwise(bounds)]


def _leads(
    graph: Graph,
    kernels: Mapping[int, Kernel],
    chains: tuple[Chain, ...],
    steps: list[range],
    blocks: list[Block],
    groups: list[tuple[int, ...]],
) -> dict[tuple[int, int], int]:
    """The pairs (input's block, output's block) that may overlap as the input dies there, with the lead in bytes."""
    block_of = {tensor: i for i, group in enumerate(groups) for tensor in group}
    chain_at = {chain.first: chain for chain in chains}
    leads: dict[tuple[int, int], int] = {}

    def asks(step: range, tensor: int) -> int | None:
        if step.start in chain_at:
            return chain_lead(graph, kernels, chain_at[step.start], tensor)
        order = kernels[step.start].order if step.start in kernels else "any"
        return lead(graph, graph.ops[step.start], tensor, order)

    for number, step in enumerate(steps):
        inputs = {tensor for position in step for tensor in graph.ops[position].inputs}
        inputs -= {graph.ops[position].output for position in step}
        sink = block_of.get(graph.ops[step[-1]].output)
        for source in {block_of[tensor] for tensor in inputs if tensor in block_of}:
            if sink is None or source == sink or blocks[source].last > number:
                continue
            asked = [asks(step, tensor) for tensor in sorted(inputs) if block_of.get(tensor) == source]
            known = [bytes_ for bytes_ in asked if bytes_ is not None]
            if len(known) == len(asked):
                leads[source, sink] = max(known)
    return leads


def _span(graph: Graph, steps: list[range], group: tuple[int, ...]) -> tuple[int, int]:
    touched = [
        number
        for number, step in enumerate(steps)
        for op in (graph.ops[position] for position in step)
        if op.output in group or any(tensor in group for tensor in op.inputs)
    ]
    return min(touched, default=0), max(touched, default=0)


def _needs(problem: _Problem) -> list[int]:
    """The bytes that each step needs at once.

    Everything alive in a step, scratch included, lies apart, except an output and the inputs that it may overlap.
    Together those cover at least the larger of the two sides, and with a single input at least the input and the lead.
    """

    def together(output: int, inputs: list[int]) -> int:
        sizes = [aligned(problem.blocks[i].size) for i in inputs]
        slack = aligned(problem.leads[inputs[0], output]) if len(inputs) == 1 else 0
        return max(aligned(problem.blocks[output].size), sum(sizes) + slack)

    def needed(step: int) -> int:
        alive = {i for i, block in enumerate(problem.blocks) if block.first <= step <= block.last}
        total = 0
        for output in [i for i in alive if problem.blocks[i].first == step]:
            inputs = [a for a, b in problem.leads if b == output and a in alive]
            if inputs:
                total += together(output, inputs)
                alive -= {output, *inputs}
        return total + sum(aligned(problem.blocks[i].size) for i in alive)

    return list(map(needed, range(len(problem.steps))))


def _slot(problem: _Problem, offsets: tuple[int, ...], index: int) -> Slot:
    block, start = problem.blocks[index], offsets[index]
    overlaps = tuple(
        Overlap(problem.groups[source][-1], bytes_, offsets[source] - start)
        for (source, sink), bytes_ in problem.leads.items()
        if sink == index
        and start < offsets[source] + problem.blocks[source].size
        and offsets[source] < start + block.size
    )
    first, last = problem.steps[block.first][0], problem.steps[block.last][-1]
    return Slot(problem.groups[index], start, block.size, first, last, overlaps)
