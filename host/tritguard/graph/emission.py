"""What is emitted for a model: its graph, a kernel for each layer with weights, and the memory plan.

`emission_of` decides all of it once. The C, the manifest, and whoever reasons about the firmware (faults, attacks)
read the same value, so that they cannot disagree. A kernel is the best in cycles and flash by the cost model, or the
one that was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tritguard.boards import CoreClass
from tritguard.errors import BadInputError
from tritguard.graph.arena.chains import plan_striped
from tritguard.graph.arena.memory import MemoryPlan, memory_needs, place_input, plan_memory, tighten
from tritguard.graph.formats.kernel import Kernel
from tritguard.graph.formats.registry import Site, WeightFormat, code_bytes, kernels_of
from tritguard.graph.formats.ternary import ternary_weights
from tritguard.graph.model import Graph, Weighted
from tritguard.graph.passes import optimised

CYCLES_PER_BYTE = 150
"""Cycles that a byte of flash must save to be worth it."""
_COLUMNS = ("tg_conv2d_int8", "tg_conv2d_pixels")
_LEAST_ROOM = 4096  # bytes of scratch that every kernel may use, even if the arena grows by them
_HEAVY = 0.25  # share of the arena that a convolution's columns must take, and that slower kernels must save
_LEAST_SLIM = 512  # bytes of the arena that are worth a slower kernel
_MOST_DECODING = 0.01  # decoding's share of the cycles of all layers with weights

Planner = Callable[[Graph, Mapping[int, Kernel]], MemoryPlan]


@dataclass(frozen=True, eq=False)
class Choice:
    """The kernel chosen for a layer, and the alternatives.

    Attributes:
        kernel: the chosen one.
        offers: the best kernel of every format that the layer can have, the best first.
        zeros: the share of zero weights; None for layers that are not ternary.
    """

    kernel: Kernel
    offers: tuple[Kernel, ...]
    zeros: float | None = None


@dataclass(frozen=True, eq=False)
class Emission:
    """Everything that is decided about a model before any C is printed.

    Attributes:
        golden: the model as it was read.
        graph: the golden graph after the passes; what the C computes.
        core: the class of cores that the kernels were chosen for.
        formats: the weight formats that were asked for, by the layer's index.
        stripes: whether layers may run in stripes of rows.
        choices: the kernel of each layer with weights, by its position in `graph`.
        plan: the place of every activation and of every kernel's scratch in the arena.
    """

    golden: Graph
    graph: Graph
    core: CoreClass
    formats: Mapping[int, WeightFormat]
    stripes: bool
    choices: Mapping[int, Choice]
    plan: MemoryPlan

    @property
    def kernels(self) -> dict[int, Kernel]:
        """The kernel of each layer with weights, by its position in `graph`."""
        return _kernels(self.choices)


def emission_of(
    golden: Graph, core: CoreClass, formats: Mapping[int, WeightFormat] | None = None, *, stripes: bool = True
) -> Emission:
    """Run the passes, choose the kernels and plan the arena. The same arguments always give the same emission.

    Args:
        golden: the model as it was read.
        core: the class of cores it is for.
        formats: formats asked for, by the layer's index, where the cost model's choice is not wanted.
        stripes: compute layers in stripes of rows where that lowers the arena's peak enough (`plan_striped`).

    Raises:
        BadInputError: see `choose_kernels`.
    """
    graph, asked = optimised(golden), dict(formats or {})
    planner = plan_striped if stripes else plan_memory
    choices, plan = _slimmed(graph, core, planner, asked)
    kernels = _kernels(choices)
    plan = place_input(graph, kernels, tighten(graph, kernels, plan))
    return Emission(golden, graph, core, asked, stripes, choices, plan)


def _slimmed(
    graph: Graph, core: CoreClass, planner: Planner, formats: Mapping[int, WeightFormat]
) -> tuple[dict[int, Choice], MemoryPlan]:
    """The kernels and the plan; where columns take too much of the arena, input included, kernels have less scratch."""

    def room_of(choices: dict[int, Choice], plan: MemoryPlan) -> int:
        received = place_input(graph, _kernels(choices), plan).input
        return received.room if received else plan.arena_bytes

    def decided(slim: frozenset[int]) -> tuple[dict[int, Choice], MemoryPlan, int]:
        choices = choose_kernels(graph, core, planner, formats, slim=slim)
        plan = planner(graph, _kernels(choices))
        return choices, plan, room_of(choices, plan)

    choices = choose_kernels(graph, core, planner, formats)
    plan = planner(graph, _kernels(choices))
    scratch = {at: kernel.scratch_bytes for at, kernel in _kernels(choices).items() if kernel.function in _COLUMNS}
    if max(scratch.values(), default=0) < _HEAVY * plan.arena_bytes:  # nor of the arena with the input, which is larger
        return choices, plan
    room = room_of(choices, plan)
    slim = frozenset(at for at, size in scratch.items() if size >= _HEAVY * room)
    if not slim:
        return choices, plan
    found = decided(slim)
    if room - found[2] < max(_LEAST_SLIM, _HEAVY * room):
        return choices, plan
    for at in sorted(slim, key=lambda at: -graph.ops[at].macs):  # a fast kernel stays if it needs no larger arena
        other = decided(slim - {at})
        if other[2] <= found[2]:
            slim, found = slim - {at}, other
    return found[:2]


def _kernels(choices: Mapping[int, Choice]) -> dict[int, Kernel]:
    return {position: choice.kernel for position, choice in choices.items()}


def choose_kernels(
    graph: Graph,
    core: CoreClass,
    plan: Planner,
    formats: Mapping[int, WeightFormat] | None = None,
    *,
    slim: frozenset[int] = frozenset(),
) -> dict[int, Choice]:
    """Choose a kernel for each layer with weights, keyed by the layer's position.

    Kernels that run faster with more scratch get the part of the arena that is free while they run.

    Args:
        graph: the model.
        core: the class of cores it is for.
        plan: plans the arena that will be emitted; what it leaves free is the kernels' room.
        formats: formats asked for, by the layer's index.
        slim: positions of int8 convolutions whose kernel takes less scratch and more time.

    Raises:
        BadInputError: no layer with weights has that index, or it can't have that format.
    """
    layers = {position: op for position, op in enumerate(graph.ops) if isinstance(op, Weighted)}
    asked = formats or {}
    if unknown := set(asked) - {op.index for op in layers.values()}:
        known = ", ".join(str(op.index) for op in layers.values())
        raise BadInputError(f"no layer {min(unknown)} with weights", fix=f"layers with weights are {known}")
    trits = {position: ternary_weights(op) for position, op in layers.items()}

    def chosen(rooms: Mapping[int, int]) -> dict[int, Choice]:
        offers = {
            position: tuple(
                sorted(
                    kernels_of(Site(graph, op, core, trits[position], rooms[position], position in slim)), key=_price
                )
            )
            for position, op in layers.items()
        }
        decoded = _worth_decoding(offers)
        eligible = {
            position: _eligible(op, offers[position], asked.get(op.index), position in decoded)
            for position, op in layers.items()
        }
        return {
            position: Choice(
                kernel,
                _best_of_each(offers[position]),
                None if trits[position] is None else float(np.mean(layers[position].weights == 0)),
            )
            for position, kernel in _cheapest(eligible).items()
        }

    first = chosen(dict.fromkeys(layers, _LEAST_ROOM))
    if all(packed is None for packed in trits.values()):
        return first
    kernels = _kernels(first)
    return chosen(_rooms(graph, kernels, plan(graph, kernels)))


def _rooms(graph: Graph, kernels: Mapping[int, Kernel], plan: MemoryPlan) -> dict[int, int]:
    """The scratch that each layer may use without growing the arena; for layers of a chain, the least."""
    needs = memory_needs(graph, kernels, plan.chains)
    alone = {step.start: plan.arena_bytes - need for step, need in needs.items() if len(step) == 1}
    return {
        position: max(_LEAST_ROOM, alone[position] + kernel.scratch_bytes) if position in alone else _LEAST_ROOM
        for position, kernel in kernels.items()
    }


def _price(kernel: Kernel) -> int:
    """The cycles of one run plus the cycles that the weights' flash is worth."""
    return kernel.cost.cycles + CYCLES_PER_BYTE * kernel.weights.nbytes


def _best_of_each(kernels: Iterable[Kernel]) -> tuple[Kernel, ...]:
    """The first kernel of each format."""
    found: dict[WeightFormat, Kernel] = {}
    for kernel in kernels:
        found.setdefault(kernel.weight_format, kernel)
    return tuple(found.values())


def _eligible(op: Weighted, offers: tuple[Kernel, ...], asked: WeightFormat | None, decoded: bool) -> list[Kernel]:
    """The kernels that may run a layer: of the format asked for, else of packed formats, else int8."""
    if asked:
        wanted = [kernel for kernel in offers if kernel.weight_format == asked]
    else:
        packed = [kernel for kernel in offers if kernel.weight_format != "int8"]
        wanted = [kernel for kernel in packed or offers if decoded or not kernel.decoding]
    if not wanted:
        possible = ", ".join(sorted({kernel.weight_format for kernel in offers}))
        raise BadInputError(f"no format {asked}", where=f"layer {op.index}", fix=f"it can have {possible}")
    return wanted


def _worth_decoding(offers: Mapping[int, tuple[Kernel, ...]]) -> set[int]:
    """Layers whose weights may be decoded first: the costliest ones, while decoding stays a small share."""
    rest = _MOST_DECODING * sum(min(kernel.cost.cycles for kernel in each) for each in offers.values())
    decoding = {position: max(kernel.decoding for kernel in each) for position, each in offers.items()}
    chosen = set()
    for position in sorted(decoding, key=decoding.__getitem__, reverse=True):
        if 0 < decoding[position] <= rest:
            rest -= decoding[position]
            chosen.add(position)
    return chosen


def _cheapest(eligible: Mapping[int, list[Kernel]]) -> dict[int, Kernel]:
    """The best kernel for each layer, the size of the kernels' code included.

    Kernel files that cost more than they save are dropped one by one, the greatest gain first.
    """

    def picked(without: frozenset[str]) -> dict[int, Kernel]:
        """The best kernel for each layer without some files; empty if that leaves a layer with none."""
        left = {at: [kernel for kernel in each if not without & {*kernel.sources}] for at, each in eligible.items()}
        return {at: min(each, key=_price) for at, each in left.items()} if all(left.values()) else {}

    def files(choice: dict[int, Kernel]) -> set[str]:
        return {source for kernel in choice.values() for source in kernel.sources}

    def total(choice: dict[int, Kernel]) -> int:
        code = sum(map(code_bytes, files(choice)))
        return sum(map(_price, choice.values())) + CYCLES_PER_BYTE * code

    without: frozenset[str] = frozenset()
    choice = picked(without)
    while choice:
        fewer = [without | {source} for source in sorted(files(choice))]
        best = min((each for each in fewer if picked(each)), key=lambda each: total(picked(each)), default=without)
        if total(picked(best)) >= total(choice):
            break
        without, choice = best, picked(best)
    return choice
