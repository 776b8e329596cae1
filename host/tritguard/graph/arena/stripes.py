"""Chains of layers computed in stripes of rows, so that the tensors between them are never in memory as a whole.

In each stripe, every layer of the chain computes the rows that the next layers need and that are not there yet. No row
is computed twice: rows that later stripes read again are kept and moved to the front of their tensor's memory.

    stripe 1 of two 3x3 convolutions, with two rows of the last:    x x x x . . . .   input, whole
                                                                    [k k n n]         k: kept, n: new
                                                                        [n n]         output, whole or not
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from tritguard.graph.arena.access import Trace, trace_of
from tritguard.graph.formats.cost import TILE
from tritguard.graph.formats.kernel import Kernel
from tritguard.graph.model import Add, Conv2D, DepthwiseConv2D, Graph, Lookup, Op, Pool2D, Quantize, Weighted, Window

_ROWS = 255  # the most that an entry of a stripe's table holds


@dataclass(frozen=True)
class Stripe:
    """What one layer does in one stripe. Rows are counted from the start of a tensor's memory, except for `top`.

    Attributes:
        top: the first computed row, counted in the whole output.
        read_from: the first row that is read, for each input.
        in_rows: the number of rows that are read.
        pad_top: the rows of padding above them.
        out_rows: the number of rows that are computed.
        to: the first row of the output's memory that is written.
        kept: the rows of the output's memory that are moved to its front before anything is computed.
        dropped: the rows in front of them that they overwrite.
    """

    top: int
    read_from: tuple[int, ...]
    in_rows: int
    pad_top: int
    out_rows: int
    to: int
    kept: int
    dropped: int


@dataclass(frozen=True, eq=False)
class Chain:
    """Layers at positions first..last, computed in stripes of `height` rows of the last layer's output.

    Attributes:
        first, last: the positions of the first and the last layer.
        height: rows of the last layer's output in a stripe.
        stripes: the stripes of each layer, by its position; every layer has the same number.
        buffers: the bytes of memory of each inner tensor.
        macs: multiply-accumulates beyond those of whole layers, spent on tiles that the end of a stripe cuts short.
    """

    first: int
    last: int
    height: int
    stripes: Mapping[int, tuple[Stripe, ...]]
    buffers: Mapping[int, int]
    macs: int

    @property
    def count(self) -> int:
        """The number of stripes."""
        return len(self.stripes[self.last])


def may_stripe(graph: Graph, kernels: Mapping[int, Kernel], first: int, last: int) -> bool:
    """Whether layers first..last can be a chain: all work row by row, and only the last output is read outside."""
    positions = range(first, last + 1)
    inner = {graph.ops[position].output for position in positions[:-1]}
    leaving = {*graph.outputs} | {
        tensor for at, op in enumerate(graph.ops) if at not in positions for tensor in op.inputs
    }
    return graph.logits_position() not in positions and not inner & leaving and all(
        _works_by_rows(graph, kernels, position) for position in positions
    )  # fmt: skip


def _works_by_rows(graph: Graph, kernels: Mapping[int, Kernel], position: int) -> bool:
    op = graph.ops[position]
    shapes = [graph.tensors[tensor].shape for tensor in (*op.inputs, op.output)]
    wide = any(graph.tensors[tensor].width > 1 for tensor in (*op.inputs, op.output))
    if wide or any(len(shape) != 3 or shape[0] > _ROWS for shape in shapes):
        return False
    if isinstance(op, Conv2D | DepthwiseConv2D):
        kernel = kernels[position]
        return kernel.weights.by_rows and kernel.order in ("pixels", "tiles")
    return isinstance(op, Add | Pool2D | Quantize | Lookup)


def chain_of(graph: Graph, first: int, last: int, height: int) -> Chain | None:
    """The chain of layers first..last; None if one of its stripes would read nothing but padding.

    Args:
        graph: the graph that holds the layers.
        first, last: positions of the first and the last layer, which `may_stripe` allows.
        height: rows of the last layer's output in a stripe.
    """
    ops = graph.ops[first : last + 1]
    have = {op.output: 0 for op in ops}  # rows computed so far
    base = dict(have)  # the row at the start of a tensor's memory
    rows = {op.output: 0 for op in ops}
    stripes: dict[int, list[Stripe]] = {position: [] for position in range(first, last + 1)}
    out_height = _height(graph, ops[-1].output)
    for top in range(0, out_height, height):
        needed = have | {ops[-1].output: min(out_height, top + height)}
        lowest: dict[int, int] = {}
        for op in reversed(ops):
            start, end = have[op.output], needed[op.output]
            if start < _height(graph, op.output):
                for tensor in op.inputs:
                    low, high = _rows_read(graph, op, start, max(end, start + 1))
                    if low >= high:
                        return None
                    lowest[tensor] = min(low, lowest.get(tensor, low))
                    if start < end:
                        needed[tensor] = max(high, needed.get(tensor, 0))
        for position, op in enumerate(ops, first):
            whole = op is ops[-1]
            moved = 0 if whole else min(lowest.get(op.output, have[op.output]), have[op.output])
            stripes[position].append(_stripe(graph, op, (have[op.output], needed[op.output]), base, moved))
            base[op.output] = moved
            have[op.output] = needed[op.output]
            rows[op.output] = max(rows[op.output], have[op.output] - moved)
    buffers = {op.output: rows[op.output] * row_bytes(graph, op.output) for op in ops[:-1]}
    finished = {position: tuple(done) for position, done in stripes.items()}
    return Chain(first, last, height, finished, buffers, sum(_excess(graph.ops[at], finished[at]) for at in finished))


def _stripe(graph: Graph, op: Op, computed: tuple[int, int], base: Mapping[int, int], moved: int) -> Stripe:
    """One stripe: inputs start with the rows in `base`, and the output's memory will start with the row `moved`."""
    start, end = computed
    low, high, pad_top = 0, 0, 0
    if start < end:
        low, high = _rows_read(graph, op, start, end)
        window = _window(op)
        pad_top = 0 if window is None else low - (start * window.stride[0] - window.padding[0])
    return Stripe(
        top=start,
        read_from=tuple(low - base.get(tensor, 0) if start < end else 0 for tensor in op.inputs),
        in_rows=high - low,
        pad_top=pad_top,
        out_rows=end - start,
        to=start - moved,
        kept=start - moved if moved > base[op.output] else 0,
        dropped=moved - base[op.output],
    )


def chain_lead(graph: Graph, kernels: Mapping[int, Kernel], chain: Chain, tensor: int) -> int | None:
    """The bytes by which the chain's output must start before a tensor; None if the two must not overlap.

    This is the inequality of `access.lead`: what has been written before a read must lie below the byte that is read.
    """
    last = graph.ops[chain.last]
    order = kernels[chain.last].order if chain.last in kernels else "any"
    trace = trace_of(graph, last, tensor, order) if tensor in last.inputs else None
    if tensor in last.inputs and trace is None:
        return None
    needed = max((written - read for read, written in _reads(graph, chain, tensor, trace)), default=0)
    return needed if (needed := max(0, needed)) < graph.tensors[last.output].size else None


def _reads(graph: Graph, chain: Chain, tensor: int, trace: Trace | None) -> Iterator[tuple[int, int]]:
    """Pairs (lowest byte read of a whole tensor, bytes of the chain's output written before), in order of execution.

    trace: the trace of the last layer if that reads the tensor.
    """
    out_row = row_bytes(graph, graph.ops[chain.last].output)
    for number, final in enumerate(chain.stripes[chain.last]):
        for position in range(chain.first, chain.last):
            op, stripe = graph.ops[position], chain.stripes[position][number]
            if tensor in op.inputs and stripe.out_rows:
                read = stripe.read_from[op.inputs.index(tensor)] * row_bytes(graph, tensor)
                yield read, final.top * out_row
        if trace is not None:
            a_row = len(trace.reads) // _height(graph, graph.ops[chain.last].output)
            steps = slice(final.top * a_row, (final.top + final.out_rows) * a_row)
            before = np.concatenate(([0], trace.ends[:-1])) if trace.reads_first else trace.ends
            later = int((before[steps] - trace.reads[steps]).argmax())
            yield int(trace.reads[steps][later]), int(before[steps][later])


def _rows_read(graph: Graph, op: Op, start: int, end: int) -> tuple[int, int]:
    """The range of input rows that output rows start..end depend on."""
    window = _window(op)
    if window is None:
        return start, end
    height = _height(graph, op.inputs[0])
    low = start * window.stride[0] - window.padding[0]
    high = (end - 1) * window.stride[0] - window.padding[0] + (window.kernel[0] - 1) * window.dilation[0] + 1
    return max(0, low), min(height, high)


def _window(op: Op) -> Window | None:
    return op.window if isinstance(op, Conv2D | DepthwiseConv2D | Pool2D) else None


def _height(graph: Graph, tensor: int) -> int:
    return graph.tensors[tensor].shape[0]


def row_bytes(graph: Graph, tensor: int) -> int:
    """The bytes in one row of an image."""
    return graph.tensors[tensor].size // _height(graph, tensor)


def _excess(op: Op, stripes: tuple[Stripe, ...]) -> int:
    if not isinstance(op, Conv2D | DepthwiseConv2D) or not isinstance(op, Weighted):
        return 0
    height, width, _ = op.out_shape
    tiles = [-(-rows * width // TILE) for rows in (height, *(stripe.out_rows for stripe in stripes))]
    return max(0, sum(tiles[1:]) - tiles[0]) * TILE * (op.macs // (height * width))
