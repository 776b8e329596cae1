"""The kernels that can run a layer with weights on a class of cores, one for each format its weights can have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tritguard.boards import CoreClass
from tritguard.graph.formats import cost
from tritguard.graph.formats.base3 import store_dual, store_rows
from tritguard.graph.formats.dual import DualWords, pack_dual
from tritguard.graph.formats.kernel import Kernel, Order, columns_bytes, folded_bias, int8_kernel
from tritguard.graph.formats.lists import pack_lists, pack_steps
from tritguard.graph.formats.taps import pack_taps
from tritguard.graph.formats.ternary import TernaryWeights
from tritguard.graph.model import Conv2D, DepthwiseConv2D, FullyConnected, Graph, Weighted

_DSP: tuple[CoreClass, ...] = ("m4", "m55")
_LIFT = 128  # what sparse lists add to activations
_FEW_ROWS = cost.TILE  # below, a dense layer takes its rows one by one


def kernels_of(graph: Graph, op: Weighted, core: CoreClass, packed: TernaryWeights | None, room: int) -> list[Kernel]:
    """Every kernel for a layer, each of another format.

    Args:
        graph: the layer's model.
        op: the layer.
        core: the class of cores it runs on.
        packed: its trits, where it is ternary.
        room: bytes of scratch that a kernel may fill to be faster; none goes without what it has to have.
    """
    int8 = int8_kernel(graph, op, cost.int8(op, cost.shape_of(op), core))
    return [int8] if packed is None else [int8, *_ternary(graph, op, packed, core, room)]


def _ternary(graph: Graph, op: Weighted, packed: TernaryWeights, core: CoreClass, room: int) -> list[Kernel]:
    depthwise = isinstance(op, DepthwiseConv2D)
    name = "tg_depthwise_ternary" if depthwise else "tg_conv2d_ternary"
    expected = cost.two_bits(op, cost.shape_of(op), core)
    plain = Kernel(name, (f"{name}.c",), "ternary2", packed, op.bias, expected, order="pixels")
    if isinstance(op, DepthwiseConv2D):
        return [plain, *_taps(graph, op, packed, core)]
    if core in _DSP:
        sparse = _steps(graph, op, packed, core, room) if isinstance(op, Conv2D) else []
        return [plain, *_dual(graph, op, packed, core, room), *sparse]
    if isinstance(op, Conv2D):
        return [plain, *_lists(graph, op, packed, core, room)]
    one_row = isinstance(op, FullyConnected) and op.rows == 1
    return [plain, _base3_rows(plain, packed, core, room)] if one_row else [plain]


def _steps(graph: Graph, op: Conv2D, packed: TernaryWeights, core: CoreClass, room: int) -> list[Kernel]:
    source = graph.tensors[op.inputs[0]].shape
    steps = pack_steps(op, packed.trits, (source[0], source[1]), room)
    if steps is None:
        return []
    expected = cost.steps(op, steps, source[0] * source[1], core)
    name = "tg_conv2d_steps"
    return [Kernel(name, (f"{name}.c",), "sparse", steps, folded_bias(op), expected, steps.scratch_bytes, "tiles")]


def _lists(graph: Graph, op: Conv2D, packed: TernaryWeights, core: CoreClass, room: int) -> list[Kernel]:
    source = graph.tensors[op.inputs[0]].shape
    lists = pack_lists(op, packed.trits, (source[0], source[1]), room)
    if lists is None:
        return []
    bias = (folded_bias(op) - _LIFT * packed.magnitude.astype(np.int64) * lists.surplus).astype(np.int32)
    expected = cost.lists(op, lists, source[0] * source[1], core)
    name = "tg_conv2d_lists"
    return [Kernel(name, (f"{name}.c",), "sparse", lists, bias, expected, lists.scratch_bytes, "tiles")]


def _taps(graph: Graph, op: DepthwiseConv2D, packed: TernaryWeights, core: CoreClass) -> list[Kernel]:
    source = graph.tensors[op.inputs[0]].shape
    lists = pack_taps(op, packed.trits, (source[0], source[1]))
    if lists is None:
        return []
    expected = cost.taps(op, lists, int(np.count_nonzero(packed.trits)), core)
    name = "tg_depthwise_taps"
    order: Order = "channels" if op.depth_multiplier == 1 else "any"
    return [Kernel(name, (f"{name}.c",), "taps2", lists, folded_bias(op), expected, lists.scratch_bytes, order)]


def _dual(graph: Graph, op: Weighted, packed: TernaryWeights, core: CoreClass, room: int) -> list[Kernel]:
    """Tiles of pixels; for few rows of a dense layer also four pairs of channels at a time. In base 3 the last."""
    shape = cost.shape_of(op)
    words = pack_dual(packed.trits.reshape(shape.channels, -1))
    # The last word's columns may end half a word behind those of tg_columns.h.
    scratch = words.blocks * cost.TILE * 4 + columns_bytes(graph, op) + 4 * cost.TILE * 2
    expected = cost.dual_tiles(shape, words.pair_words, words.blocks, len(words.channels), core)
    name = "tg_conv2d_dual"
    tiles = Kernel(name, (f"{name}.c",), "dual2", words, folded_bias(op), expected, scratch, "tiles")
    if not isinstance(op, FullyConnected) or op.rows >= _FEW_ROWS:
        return [tiles, _dual_base3(tiles, words, cost.dual_columns(shape, words.pair_words, core), core, room)]
    words = pack_dual(packed.trits, cost.TILE)
    scratch = words.blocks * cost.TILE * 4 + words.pair_words * 16
    expected = cost.dual_rows(shape, words.pair_words, words.blocks, len(words.channels), core)
    name = "tg_dense_dual"
    rows = Kernel(name, (f"{name}.c",), "quad2", words, folded_bias(op), expected, scratch, "tiles")
    return [tiles, rows, _dual_base3(rows, words, cost.dual_row(shape), core, room)]


def _dual_base3(plain: Kernel, words: DualWords, again: cost.Cost, core: CoreClass, room: int) -> Kernel:
    """A kernel's words in base 3; again: what every group of channels but the first takes once more."""
    stored = store_dual(words, max(room - plain.scratch_bytes, room // 2))
    decoding = cost.decoding(len(stored.packed), core)
    name = plain.function.replace("_dual", "_base3")
    return replace(
        plain,
        function=name,
        sources=(f"{name}.c", *plain.sources),
        weight_format="base3",
        weights=stored,
        cost=plain.cost + decoding + again.times(stored.groups - 1),
        scratch_bytes=stored.decoded_bytes + plain.scratch_bytes,
        order="tiles" if stored.groups == 1 else "any",
        decoding=decoding.cycles,
    )


def _base3_rows(plain: Kernel, packed: TernaryWeights, core: CoreClass, room: int) -> Kernel:
    """Two-bit trits of a dense layer in base 3."""
    stored = store_rows(packed.trits, packed.magnitude, room)
    decoding = cost.decoding(len(stored.packed), core)
    return replace(
        plain,
        function="tg_ternary_base3",
        sources=("tg_ternary_base3.c", *plain.sources),
        weight_format="base3",
        weights=stored,
        cost=plain.cost + decoding,
        scratch_bytes=stored.decoded_bytes,
        order="pixels" if stored.group >= len(packed.trits) else "any",
        decoding=decoding.cycles,
    )
