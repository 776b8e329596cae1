"""Functions of single values in front of a network, such as folds, stairs and codes, searched as lookup tables.

A gradient says little about a function that rises and falls many times inside the ball. If every value of a layer
depends on one element of the input alone, its 256 values are a table, and the best value of an element inside the ball
can be looked up, whatever the function does in between.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.base import Ball, Best, Queries, Target
from tritguard.attack.gradient import Gradients
from tritguard.attack.smoothed import SmoothedView
from tritguard.attack.view import GradientView
from tritguard.graph.arithmetic.fixed_point import INT8_MAX, INT8_MIN
from tritguard.graph.model import (
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    L2Normalization,
    LogSoftmax,
    Mean,
    Op,
    Pool2D,
    Softmax,
    Tensor,
    TransposeConv,
    View,
)
from tritguard.graph.stateful import Recurrent
from tritguard.predictor import Int8

# Pairs of inputs that are mixed to see what each value depends on: some are constant, because most functions differ at
# the ends of the range, and the rest are random.
_CONSTANT = ((INT8_MIN, INT8_MAX), (INT8_MIN, 0), (0, INT8_MAX))
_PAIRS = 12
_CURVED = 3.0  # steps by which a table has to differ from a straight line to be worth looking up
_SHARE, _LAST = 0.6, 0.02  # the shares of the elements that move in the first step and in the last
_MOVES = 12  # random corners of the ball around each sample
_PRICES = 14  # bisections of a price


@dataclass(frozen=True, eq=False)
class Front:
    """The layers in front of a network, and the network behind them.

    Attributes:
        rest: the view of the network behind the front, whose input is the front's values, [n, values] in int8 steps.
        source: int64[m], the element of the input that each value depends on, sorted; `order` and `table` follow it.
        order: int64[m], the place of each of these values among all values that come out of the front.
        table: int8[256, m], what each value is for the input steps -128 to 127.
        fixed: int8[values], used for the values that depend on no element.
    """

    rest: GradientView
    source: NDArray[np.int64]
    order: NDArray[np.int64]
    table: Int8
    fixed: Int8

    def values(self, x: Int8) -> NDArray[np.float32]:
        """What comes out of the front for inputs int8[n, *input_shape]: float32[n, values] in steps."""
        found = np.repeat(self.fixed[None], len(x), axis=0)
        found[:, self.order] = self._looked_up(x.reshape(len(x), -1)[:, self.source].astype(np.int64))
        return found.astype(np.float32)

    def _looked_up(self, steps: NDArray[np.int64]) -> Int8:
        return self.table[steps - INT8_MIN, np.arange(len(self.source))]

    def best(self, slopes: NDArray[np.float32], clean: Int8, ball: Ball) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The input elements that matter, int64[k], and the steps that serve best in the ball, int64[n, k].

        In a ball that bounds each element by itself, each element takes its best step. In any other ball, changes cost
        a price times their squares: the lowest price at which the changes that pay fit into the ball.

        Args:
            slopes: float32[n, values], by how much the loss rises with each value of the front.
            clean: int8[n, *input_shape].
            ball: what the attack may use.
        """
        elements, firsts = np.unique(self.source, return_index=True)
        flat, start = slopes[:, self.order], clean.reshape(len(clean), -1).astype(np.int64)

        def bought(price: NDArray[np.float64]) -> NDArray[np.int64]:
            best, most = start[:, elements].copy(), np.full((len(clean), len(elements)), -np.inf)
            for shift in sorted(range(-ball.eps, ball.eps + 1), key=lambda shift: -abs(shift)):
                steps = np.clip(start + shift, ball.low, ball.high)
                gains = np.add.reduceat(flat * self._looked_up(steps[:, self.source]), firsts, axis=1)
                gains = gains - price[:, None] * shift**2
                better = gains > most
                best[better], most[better] = steps[:, elements][better], gains[better]
            return best

        price = np.zeros(len(clean))
        if ball.geometry.box:
            return elements, bought(price)
        high = np.abs(flat).sum(axis=1) * 256.0  # no change is worth that
        for _ in range(_PRICES):
            middle = np.sqrt(np.maximum(price, high * 1e-9) * high)
            moves = (bought(middle) - start[:, elements]).astype(np.float64)
            fits = ball.geometry.lengths(moves) <= ball.eps
            price, high = np.where(fits, price, middle), np.where(fits, middle, high)
        return elements, bought(high)

    def smoothed(self, around: Int8, ball: Ball) -> GradientView:
        """The network behind the front, smoothed over the front's values for random inputs of the ball.

        Args:
            around: int8[samples, *input_shape], the centres of the balls.
            ball: what the attack may use.
        """
        wide = np.repeat(around, _MOVES, axis=0)
        moved = wide + ball.geometry.to_edge(np.random.default_rng(0), wide.astype(np.float64), ball.eps)
        probes = self.values(ball.to_grid(moved, wide)).astype(np.int8)
        return SmoothedView(self.rest.graph, probes.reshape(len(around), _MOVES, -1), 1.0, self.rest.temperature)


@lru_cache(maxsize=4)
def find_front(view: GradientView) -> Front | None:
    """Find the largest front of a network that is worth looking up; None if it has none.

    The front is everything that depends on single elements. Any number of tensors may lead out of it, among them the
    input itself where a branch bypasses the functions. Mixtures of two inputs show what a value depends on, because it
    is that of the one or of the other. The masks of the mixtures number the elements in binary.
    """
    graph = view.graph
    alone = _unmixed(graph)
    if all(GradientView.moves(op) for op in alone):
        return None
    inputs, masks = _mixtures(view.input_shape, graph.tensors[graph.input].size)
    seen = _Recording(replace(graph, ops=alone)).run(np.concatenate([inputs, _constants(view.input_shape)]))
    sources = {graph.input: np.arange(graph.tensors[graph.input].size)}
    for op in alone:
        found = None
        if all(tensor in sources for tensor in op.inputs):
            found = _sources(seen[op.output][: len(inputs)], masks)
        if found is not None:
            sources[op.output] = found
    behind = [op for op in graph.ops if op.output not in sources]
    out = [tensor for tensor in sources if any(tensor in op.inputs for op in behind)]
    if not out:  # nothing mixes, as where all weights are zero
        return None
    steps = np.concatenate([seen[tensor] for tensor in out], axis=1)
    source = np.concatenate([sources[tensor] for tensor in out])
    table = steps[len(inputs) :]
    if not _curved(table):
        return None
    order = np.argsort(source, kind="stable")
    order = order[source[order] >= 0]
    rest = GradientView(_from_here(graph, out, behind), view.temperature)
    front = Front(rest, source[order], order, table[:, order], table[0])
    right = front.values(inputs) == steps[: len(inputs)]
    return front if right.all() else None


def _from_here(graph: Graph, tensors: list[int], behind: list[Op]) -> Graph:
    """The network behind some tensors, which takes their values, concatenated, as its input."""
    sizes = [graph.tensors[tensor].size for tensor in tensors]
    joined = Tensor(max(graph.tensors) + 1, "front", (sum(sizes),), 1.0, 0)
    parts: list[Op] = [
        View(
            index=-1, inputs=(joined.index,), output=tensor, operator="SLICE", offset=int(offset), sizes=(size,),
            steps=(1,),
        )
        for tensor, size, offset in zip(tensors, sizes, np.cumsum([0, *sizes]), strict=False)
    ]  # fmt: skip
    tables = {**graph.tensors, joined.index: joined}
    return replace(graph, tensors=tables, input=joined.index, ops=(*parts, *behind))


class _Recording(GradientView):
    """The view, run once to see all its tensors; its ops need not lead to its output."""

    def run(self, x: Int8) -> dict[int, Int8]:
        """The values of each tensor, int8[n, size], for the inputs int8[n, *input_shape]."""
        steps = {self.graph.input: self._tf.constant(x.astype(np.float32))}
        for position, op in enumerate(self.graph.ops):
            inputs = [steps[tensor] for tensor in op.inputs]
            steps[op.output] = self._on_grid(*self._computed(position, inputs), op)
        return {tensor: values.numpy().astype(np.int8).reshape(len(x), -1) for tensor, values in steps.items()}


def climb(
    target: Target,
    ball: Ball,
    front: Front,
    view: GradientView,
    queries: Queries,
    best: Best,
    *,
    steps: int,
    rng: np.random.Generator,
) -> int:
    """Search on the samples that still hold: elements go to their best values by the gradient behind the front.

    In each step a share of the elements moves, drawn at random and smaller each time, because the gradient is valid
    only while few of them move. The deployed model is asked after each step.

    Args:
        target: the attacked model and the samples.
        ball: what the attack may use.
        front: the front of the model.
        view: a view of the network behind it: `front.rest`, or a smoothed one.
        queries: asks the model.
        best: the best inputs so far, which are improved.
        steps: gradients per sample.
        rng: draws the start and the elements.

    Returns:
        The number of gradients taken.
    """
    active = np.flatnonzero(best.margins > 0)
    clean = target.x[active]
    gradients = Gradients(replace(target, view=view), "margin")
    reach = ball.eps if ball.geometry.box else 1
    x = ball.to_grid(clean.astype(np.float64) + rng.integers(-reach, reach + 1, clean.shape), clean)
    for step in range(steps):
        if active.size == 0:
            break
        slopes = gradients(front.values(x), active)[1]
        elements, wanted = front.best(slopes, target.x[active], ball)
        going = rng.random(wanted.shape) < _SHARE * (_LAST / _SHARE) ** (step / steps)
        moved = x.reshape(len(x), -1).astype(np.float64)
        moved[:, elements] = np.where(going, wanted, moved[:, elements])
        x = ball.to_grid(moved.reshape(x.shape), target.x[active])
        best.take(x, queries.margins(x, active), active)
        holds = best.margins[active] > 0
        active, x = active[holds], x[holds]
    return gradients.taken


def _unmixed(graph: Graph) -> tuple[Op, ...]:
    """The ops that may depend on single elements: nothing in front of them is known to mix any."""
    reached, alone = {graph.input}, []
    for op in graph.ops:
        if not _mixes(op) and all(tensor in reached for tensor in op.inputs):
            reached.add(op.output)
            alone.append(op)
    return tuple(alone)


def _mixes(op: Op) -> bool:
    """Whether a layer puts several elements of its input into one value."""
    if isinstance(op, TransposeConv | Pool2D | Mean | Softmax | LogSoftmax | L2Normalization | Recurrent):
        return True
    if isinstance(op, DepthwiseConv2D):
        return bool((np.count_nonzero(op.weights.reshape(-1, op.weights.shape[2]), axis=0) > 1).any())
    if isinstance(op, Conv2D | FullyConnected):
        return bool((np.count_nonzero(op.weights.reshape(len(op.weights), -1), axis=1) > 1).any())
    return False


def _mixtures(shape: tuple[int, ...], size: int) -> tuple[Int8, NDArray[np.bool_]]:
    """Pairs of inputs, each with its mixtures by every mask: int8[_PAIRS * (2 + masks), *shape].

    The masks are bool[masks, size]. Where a mask holds, a mixture takes the first input's element.
    """
    rng = np.random.default_rng(0)
    bits = max(1, int(size - 1).bit_length())
    numbers = (np.arange(size)[None] >> np.arange(bits)[:, None] & 1).astype(bool)
    masks = np.concatenate([numbers, ~numbers])
    inputs = []
    pairs = rng.integers(INT8_MIN, INT8_MAX + 1, (_PAIRS, 2, size), dtype=np.int8)
    pairs[: len(_CONSTANT)] = np.array(_CONSTANT, np.int8)[:, :, None]
    for one, other in pairs:
        inputs += [one[None], other[None], np.where(masks, one, other)]
    return np.concatenate(inputs).reshape(-1, *shape), masks


def _constants(shape: tuple[int, ...]) -> Int8:
    """All inputs of one value, int8[256, *shape]."""
    steps = np.arange(INT8_MIN, INT8_MAX + 1).astype(np.int8)
    return np.broadcast_to(steps.reshape(-1, *[1] * len(shape)), (256, *shape)).copy()


def _sources(steps: Int8, masks: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    """int64[values]: the element that each value depends on, -1 for none; None if some depend on several.

    Args:
        steps: int8[_PAIRS * (2 + masks), values], what the layer holds for the inputs of `_mixtures`.
        masks: the masks of `_mixtures`.
    """
    bits = len(masks) // 2
    votes = np.zeros((bits, steps.shape[1]), np.int64)
    for pair in steps.reshape(_PAIRS, 2 + len(masks), -1):
        one, other, mixed = pair[0], pair[1], pair[2:]
        first, second = mixed == one, mixed == other
        if not (first | second).all():
            return None
        votes += (first & ~second)[:bits].astype(np.int64) - (second & ~first)[:bits]
        if ((first & ~second)[:bits] & (first & ~second)[bits:]).any():
            return None  # it follows the first input under a mask and under its opposite
        if ((second & ~first)[:bits] & (second & ~first)[bits:]).any():
            return None
    live = (votes != 0).all(axis=0)
    numbers = ((votes > 0) << np.arange(bits)[:, None]).sum(axis=0)
    return np.where(live & (numbers < masks.shape[1]), numbers, -1)


def _curved(table: Int8) -> bool:
    """Whether some column of a table, int8[256, values], is far from a straight line."""
    values, steps = table.astype(np.float64), np.arange(256.0) - 127.5
    values -= values.mean(axis=0)
    rest = values - np.outer(steps, steps @ values / (steps @ steps))
    return bool(np.sqrt((rest**2).mean(axis=0)).max() > _CURVED)
