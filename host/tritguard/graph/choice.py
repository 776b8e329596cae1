"""Which kernel runs each layer with weights: the cheapest by the cost model, or the one that was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tritguard.boards import CoreClass
from tritguard.errors import BadInputError
from tritguard.graph import cost
from tritguard.graph.dual import pack_dual
from tritguard.graph.kernels import Kernel, Order, WeightFormat, columns_bytes, folded_bias, int8_kernel
from tritguard.graph.lists import pack_lists
from tritguard.graph.model import Conv2D, DepthwiseConv2D, FullyConnected, Graph, Weighted
from tritguard.graph.taps import pack_taps
from tritguard.graph.ternary import TernaryWeights, ternary_weights

_DSP: tuple[CoreClass, ...] = ("m4", "m55")
_LIFT = 128  # what sparse lists add to activations
_SMALL_DENSE = 1 << 14  # multiply-accumulates: some 10,000 cycles in vain against 1.5 KB of code
_FEW_ROWS = cost.TILE  # below, a dense layer takes its rows one by one


@dataclass(frozen=True, eq=False)
class Choice:
    """A layer's kernel and what else it could have been.

    Attributes:
        kernel: what runs.
        offers: every format the layer can have, the cheapest first; one for layers that are not ternary.
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
    choices = {
        position: _choose(graph, op, core, asked.pop(op.index, None))
        for position, op in enumerate(graph.ops)
        if isinstance(op, Weighted)
    }
    if asked:
        known = ", ".join(str(graph.ops[position].index) for position in choices)
        raise BadInputError(f"no layer {min(asked)} with weights", fix=f"layers with weights are {known}")
    return choices


def _choose(graph: Graph, op: Weighted, core: CoreClass, asked: WeightFormat | None) -> Choice:
    packed = ternary_weights(op)
    offers = [int8_kernel(graph, op, cost.int8(op, cost.shape_of(op), core))]
    if packed is not None:
        offers += _ternary(graph, op, packed, core)
    offers.sort(key=lambda kernel: kernel.cost.cycles)
    # Ternary weights stay packed unless int8 is asked for: flash is what they are trained for.
    chosen = next((kernel for kernel in offers if kernel.weight_format == asked), None)
    if asked is not None and chosen is None:
        possible = ", ".join(kernel.weight_format for kernel in offers)
        raise BadInputError(f"no format {asked}", where=f"layer {op.index}", fix=f"it can have {possible}")
    chosen = chosen or next(kernel for kernel in offers if packed is None or kernel.weight_format != "int8")
    zeros = None if packed is None else float(np.mean(op.weights == 0))
    return Choice(chosen, tuple(offers), zeros)


def _ternary(graph: Graph, op: Weighted, packed: TernaryWeights, core: CoreClass) -> list[Kernel]:
    depthwise = isinstance(op, DepthwiseConv2D)
    name = "tg_depthwise" if depthwise else "tg_conv2d"
    source = "tg_depthwise_ternary.c" if depthwise else "tg_conv2d_ternary.c"
    plain = cost.two_bits(op, cost.shape_of(op), core)
    offers = [Kernel(f"{name}_ternary", source, "ternary2", packed, op.bias, plain, order="pixels")]
    if isinstance(op, DepthwiseConv2D):
        offers += _taps(graph, op, packed)
    elif core in _DSP:
        offers.append(_dual(graph, op, packed))
    elif isinstance(op, Conv2D):
        offers.append(_lists(graph, op, packed))
    return offers


def _lists(graph: Graph, op: Conv2D, packed: TernaryWeights) -> Kernel:
    source = graph.tensors[op.inputs[0]].shape
    lists = pack_lists(op, packed.trits, (source[0], source[1]))
    bias = (folded_bias(op) - _LIFT * packed.magnitude.astype(np.int64) * lists.surplus).astype(np.int32)
    expected = cost.lists(op, lists, source[0] * source[1])
    name = "tg_conv2d_lists"
    return Kernel(name, f"{name}.c", "sparse", lists, bias, expected, lists.scratch_bytes, "tiles")


def _taps(graph: Graph, op: DepthwiseConv2D, packed: TernaryWeights) -> list[Kernel]:
    source = graph.tensors[op.inputs[0]].shape
    lists = pack_taps(op, packed.trits, (source[0], source[1]))
    if lists is None:
        return []
    expected = cost.taps(op, lists, int(np.count_nonzero(packed.trits)))
    name = "tg_depthwise_taps"
    order: Order = "channels" if op.depth_multiplier == 1 else "any"
    return [Kernel(name, f"{name}.c", "taps2", lists, folded_bias(op), expected, lists.scratch_bytes, order)]


def _dual(graph: Graph, op: Weighted, packed: TernaryWeights) -> Kernel:
    shape = cost.shape_of(op)
    dense = isinstance(op, FullyConnected) and op.rows < _FEW_ROWS and not _shares_convolution(graph, op)
    words = pack_dual(packed.trits.reshape(shape.channels, -1), together=cost.TILE if dense else 1)
    expected = cost.dual(shape, words.pair_words, words.blocks, len(words.channels), dense)
    corrections = words.blocks * cost.TILE * 4
    name = "tg_dense_dual" if dense else "tg_conv2d_dual"
    # The last word's columns may end half a word behind those of tg_columns.h.
    activations = words.pair_words * 16 if dense else columns_bytes(graph, op) + 4 * cost.TILE * 2
    return Kernel(name, f"{name}.c", "dual2", words, folded_bias(op), expected, corrections + activations, "tiles")


def _shares_convolution(graph: Graph, op: Weighted) -> bool:
    """A small dense layer runs in the kernel that convolutions need anyway: slower, but without code of its own."""
    return op.macs < _SMALL_DENSE and any(isinstance(other, Conv2D) for other in graph.ops)
