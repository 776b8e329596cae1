"""Turns a model with state into one without: the graph of a whole stream, whose input holds all of its frames.

Code that reasons about a network, such as that for gradients, then needs no special case for state: a state is the
tensor that the previous frame gave. This graph never runs on a device.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

from tritguard.graph.model import Concatenation, Graph, Int8, Op, Pad, Tensor, View
from tritguard.graph.stateful import Assign, Lstm, Recurrent, Svdf


def unrolled(graph: Graph, frames: int) -> Graph:
    """The graph of a stream of frames, whose output is the one after the last frame.

    Args:
        graph: a model with one input and one output.
        frames: the number of frames, at least one.

    Returns:
        A graph without states and with an input of the shape [frames, *input]; the same object if it has no states.
    """
    if not graph.states:
        return graph
    unrolling = _Unrolling(graph, frames)
    own = {tensor for op in graph.ops if isinstance(op, Lstm | Svdf) for tensor in op.inputs[1:]}
    states = [state for state in graph.states if state.before not in own]
    values = {state.before: unrolling.constant(state.before, state.initial) for state in states}
    for frame in range(frames):
        known = values | {graph.input: unrolling.slice_of(frame)}
        for op in graph.ops:
            known[op.output] = known[op.inputs[0]] if isinstance(op, Assign) else unrolling.repeated(op, known)
        values = {state.before: known[state.after] for state in states}
    return unrolling.until(known[graph.output])


class _Unrolling:
    """The graph of a stream while it grows."""

    def __init__(self, graph: Graph, frames: int) -> None:
        self._graph = graph
        self._source = source = graph.tensors[graph.input]
        self._tensors = {0: replace(source, index=0, shape=(frames, *source.shape), batched=True)}
        self._ops: list[Op] = []
        self._left: dict[int, int] = {}  # for the output of each layer with a state of its own, what it gave last

    def slice_of(self, frame: int) -> int:
        """The tensor of one frame of the input."""
        return self._viewed(0, frame * self._source.size, self._source)

    def constant(self, tensor: int, values: Int8) -> int:
        """A tensor with these values, flat, which no input changes: padding around an element that is cut off again."""
        like = self._graph.tensors[tensor]
        runs = [(value, sum(1 for _ in run)) for value, run in groupby(values.tolist())]
        parts = tuple(self._filled(value, size, like) for value, size in runs)
        if len(parts) == 1:
            return self._viewed(parts[0], 0, like)
        joined = self._add(replace(like, shape=(values.size,)))
        widths = tuple(size for _, size in runs)
        self._ops.append(
            Concatenation(index=0, inputs=parts, output=joined, operator="CONCATENATION", rows=1, widths=widths)
        )
        return self._viewed(joined, 0, like)

    def repeated(self, op: Op, known: dict[int, int]) -> int:
        """The op on the tensors that stand for its inputs in this frame."""
        if isinstance(op, Lstm | Svdf):
            return self._recurred(op, known[op.inputs[0]])
        output = self._add(self._graph.tensors[op.output])
        self._ops.append(replace(op, inputs=tuple(known[tensor] for tensor in op.inputs), output=output))
        return output

    def _recurred(self, op: Lstm | Svdf, source: int) -> int:
        """The layer with its state as a part of its output; see `Recurrent`."""
        like = self._graph.tensors[op.output]
        output = self._add(replace(like, shape=(like.size + op.kept,), batched=True))
        before = [self._left[op.output]] if op.output in self._left else []
        self._ops.append(Recurrent(index=op.index, part=op.part, inputs=(source, *before), output=output, layer=op))
        self._left[op.output] = output
        return self._viewed(output, 0, like)

    def until(self, output: int) -> Graph:
        """The graph of all that an output depends on."""
        needed, kept = {output, 0}, []
        for op in reversed(self._ops):
            if op.output in needed:
                needed.update(op.inputs)
                kept.append(op)
        tensors = {index: tensor for index, tensor in self._tensors.items() if index in needed}
        return Graph(tensors, tuple(reversed(kept)), 0, output)

    def _add(self, like: Tensor) -> int:
        index = len(self._tensors)
        self._tensors[index] = replace(like, index=index)
        return index

    def _viewed(self, source: int, offset: int, like: Tensor) -> int:
        """A view of as many elements of a tensor as `like` has, in the shape of `like`."""
        output, many = self._add(like), like.size > 1
        sizes, steps = ((like.size,), (1,)) if many else ((), ())
        self._ops.append(
            View(index=0, inputs=(source,), output=output, operator="SLICE", offset=offset, sizes=sizes, steps=steps)
        )
        return output

    def _filled(self, value: int, size: int, like: Tensor) -> int:
        one = self._viewed(0, 0, replace(like, shape=(1,)))
        padded = self._add(replace(like, shape=(size + 1,)))
        self._ops.append(
            Pad(index=0, inputs=(one,), output=padded, before=(0, 0, size), after=(0, 0, 0), value=int(value))
        )
        return self._viewed(padded, 0, replace(like, shape=(size,)))
