"""Which kernel runs each layer with weights: the best in cycles and flash by the cost model, or the one asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tritguard.boards import CoreClass
from tritguard.errors import BadInputError
from tritguard.graph import cost
from tritguard.graph.dual import pack_dual
from tritguard.graph.kernels import Kernel, Order, WeightFormat, columns_bytes, folded_bias, int8_kernel
from tritguard.graph.lists import pack_lists, pack_steps
from tritguard.graph.model import Conv2D, DepthwiseConv2D, FullyConnected, Graph, Weighted
from tritguard.graph.taps import pack_taps
from tritguard.graph.ternary import TernaryWeights, ternary_weights

_DSP: tuple[CoreClass, ...] = ("m4", "m55")
_CYCLES_PER_BYTE = 250  # what a byte of flash has to save to be worth it
_LIFT = 128  # what sparse lists add to activations
_CODE_BYTES = {  # of kernels, GCC 12 -O2 for the cores they are offered on
    "tg_conv2d.c": 2900,
    "tg_conv2d_dual.c": 2800,
    "tg_conv2d_lists.c": 1700,
    "tg_conv2d_steps.c": 1400,
    "tg_conv2d_ternary.c": 900,
    "tg_dense.c": 900,
    "tg_dense_dual.c": 1500,
    "tg_depthwise.c": 2300,
    "tg_depthwise_taps.c": 1500,
    "tg_depthwise_ternary.c": 700,
}
_FEW_ROWS = cost.TILE  # below, a dense layer takes its rows one by one


@dataclass(frozen=True, eq=False)
class Choice:
    """A layer's kernel and what else it could have been.

    Attributes:
        kernel: what runs.
        offers: every format the layer can have, the best first; one for layers that are not ternary.
        zeros: share of zero weights; None for layers that are not ternary.
    """

    kernel: Kernel
    offers: tuple[Kernel, ...]
    zeros: float | None = None


def choose_kernels(
    graph: Graph, core: CoreClass, formats: Mapping[int, WeightFormat] | None = None
) -> dict[int, Choice]:
    """A kernel for each layer with weights, by its position.

    Args:
        graph: the model.
        core: the class of cores it is for.
        formats: formats asked for, by the layer's index.

    Raises:
        BadInputError: no layer with weights has that index, or it can't have that format.
    """
    asked = dict(formats or {})
    layers = {position: op for position, op in enumerate(graph.ops) if isinstance(op, Weighted)}
    trits = {position: ternary_weights(op) for position, op in layers.items()}
    offers = {position: _offers(graph, op, core, trits[position]) for position, op in layers.items()}
    eligible = {position: _eligible(op, offers[position], asked.pop(op.index, None)) for position, op in layers.items()}
    if asked:
        known = ", ".join(str(op.index) for op in layers.values())
        raise BadInputError(f"no layer {min(asked)} with weights", fix=f"layers with weights are {known}")
    return {
        position: Choice(
            kernel, offers[position], None if trits[position] is None else float(np.mean(layers[position].weights == 0))
        )
        for position, kernel in _cheapest(eligible).items()
    }


def _offers(graph: Graph, op: Weighted, core: CoreClass, packed: TernaryWeights | None) -> tuple[Kernel, ...]:
    offers = [int8_kernel(graph, op, cost.int8(op, cost.shape_of(op), core))]
    if packed is not None:
        offers += _ternary(graph, op, packed, core)
    return tuple(sorted(offers, key=_price))


def _price(kernel: Kernel) -> int:
    """Cycles of one run, and what the weights' flash is worth."""
    return kernel.cost.cycles + _CYCLES_PER_BYTE * kernel.weights.nbytes


def _eligible(op: Weighted, offers: tuple[Kernel, ...], asked: WeightFormat | None) -> list[Kernel]:
    """What may run a layer: what was asked for; else, where it is ternary, anything but int8, which takes its flash."""
    packed = [kernel for kernel in offers if kernel.weight_format != "int8"]
    wanted = [kernel for kernel in offers if kernel.weight_format == asked] if asked else packed or list(offers)
    if not wanted:
        possible = ", ".join(sorted({kernel.weight_format for kernel in offers}))
        raise BadInputError(f"no format {asked}", where=f"layer {op.index}", fix=f"it can have {possible}")
    return wanted


def _cheapest(eligible: Mapping[int, list[Kernel]]) -> dict[int, Kernel]:
    """The best kernel for each layer, where a kernel's code counts too: one that saves less than it takes is left out.

    Kernels are dropped one by one, the greatest gain first, until none is left that costs more than it saves.
    """

    def picked(without: frozenset[str]) -> dict[int, Kernel]:
        """An empty dict where a layer has no other kernel."""
        left = {at: [kernel for kernel in each if kernel.source not in without] for at, each in eligible.items()}
        return {at: min(each, key=_price) for at, each in left.items()} if all(left.values()) else {}

    def total(choice: dict[int, Kernel]) -> int:
        code = sum(_CODE_BYTES[source] for source in {kernel.source for kernel in choice.values()})
        return sum(map(_price, choice.values())) + _CYCLES_PER_BYTE * code

    without: frozenset[str] = frozenset()
    choice = picked(without)
    while choice:
        fewer = [without | {source} for source in sorted({kernel.source for kernel in choice.values()})]
        best = min((each for each in fewer if picked(each)), key=lambda each: total(picked(each)), default=without)
        if total(picked(best)) >= total(choice):
            break
        without, choice = best, picked(best)
    return choice


def _ternary(graph: Graph, op: Weighted, packed: TernaryWeights, core: CoreClass) -> list[Kernel]:
    depthwise = isinstance(op, DepthwiseConv2D)
    name = "tg_depthwise" if depthwise else "tg_conv2d"
    source = "tg_depthwise_ternary.c" if depthwise else "tg_conv2d_ternary.c"
    plain = cost.two_bits(op, cost.shape_of(op), core)
    offers = [Kernel(f"{name}_ternary", source, "ternary2", packed, op.bias, plain, order="pixels")]
    if isinstance(op, DepthwiseConv2D):
        offers += _taps(graph, op, packed, core)
    elif core in _DSP:
        offers += _dual(graph, op, packed)
        offers += _steps(graph, op, packed) if isinstance(op, Conv2D) else []
    elif isinstance(op, Conv2D):
        offers.append(_lists(graph, op, packed, core))
    return offers


def _steps(graph: Graph, op: Conv2D, packed: TernaryWeights) -> list[Kernel]:
    source = graph.tensors[op.inputs[0]].shape
    steps = pack_steps(op, packed.trits, (source[0], source[1]))
    if steps is None:
        return []
    expected = cost.steps(op, steps, source[0] * source[1])
    name = "tg_conv2d_steps"
    return [Kernel(name, f"{name}.c", "sparse", steps, folded_bias(op), expected, steps.scratch_bytes, "tiles")]


def _lists(graph: Graph, op: Conv2D, packed: TernaryWeights, core: CoreClass) -> Kernel:
    source = graph.tensors[op.inputs[0]].shape
    lists = pack_lists(op, packed.trits, (source[0], source[1]))
    bias = (folded_bias(op) - _LIFT * packed.magnitude.astype(np.int64) * lists.surplus).astype(np.int32)
    expected = cost.lists(op, lists, source[0] * source[1], core)
    name = "tg_conv2d_lists"
    return Kernel(name, f"{name}.c", "sparse", lists, bias, expected, lists.scratch_bytes, "tiles")


def _taps(graph: Graph, op: DepthwiseConv2D, packed: TernaryWeights, core: CoreClass) -> list[Kernel]:
    source = graph.tensors[op.inputs[0]].shape
    lists = pack_taps(op, packed.trits, (source[0], source[1]))
    if lists is None:
        return []
    expected = cost.taps(op, lists, int(np.count_nonzero(packed.trits)), core)
    name = "tg_depthwise_taps"
    order: Order = "channels" if op.depth_multiplier == 1 else "any"
    return [Kernel(name, f"{name}.c", "taps2", lists, folded_bias(op), expected, lists.scratch_bytes, order)]


def _dual(graph: Graph, op: Weighted, packed: TernaryWeights) -> list[Kernel]:
    """Tiles of pixels; for few rows of a dense layer also four pairs of channels at a time."""
    shape = cost.shape_of(op)
    trits = packed.trits.reshape(shape.channels, -1)
    few = isinstance(op, FullyConnected) and op.rows < _FEW_ROWS
    offers = []
    for name, together in (("tg_conv2d_dual", 1), ("tg_dense_dual", cost.TILE))[: 2 if few else 1]:
        words = pack_dual(trits, together)
        expected = cost.dual(shape, words.pair_words, words.blocks, len(words.channels), together > 1)
        # The last word's columns may end half a word behind those of tg_columns.h.
        activations = words.pair_words * 16 if together > 1 else columns_bytes(graph, op) + 4 * cost.TILE * 2
        scratch = words.blocks * cost.TILE * 4 + activations
        offers.append(Kernel(name, f"{name}.c", "dual2", words, folded_bias(op), expected, scratch, "tiles"))
    return offers
